"""Keys, atomic files, records."""

import errno
import os
from pathlib import Path

import pytest
from rundir import fail, reference

from cabench.errors import CabenchError
from cabench.records.store import CURVES, Store
from cabench.runtime.files import (
    PART,
    atomic_folder,
    atomic_path,
    content_key,
    read_json,
    write_csv,
    write_json,
)
from cabench.runtime.sealed import is_valid, read_sealed, read_valid, seal


def test_keys_follow_the_content_not_its_order():
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert content_key("train", 1) != content_key("sample", 1)
    assert len(content_key(1)) == 16


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x" / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), atomic_path(path) as part:
        _ = part.write_text('{"new"') / 0
    assert read_json(path) == {"old": 1}
    assert os.listdir(path.parent) == ["a.json"]


def test_nan_never_reaches_the_disk(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"kid": float("nan")})
    assert os.listdir(tmp_path) == []


def content(key: str, **changes) -> dict:
    """A committed record under another key."""
    record = reference()[1]["native", 0] | {"key": key} | changes
    return (
        {k: v for k, v in record.items() if k not in ("files", "checksum")} | {"key": key} | changes
    )


def test_a_corrupted_record_is_named_and_counts_as_absent(tmp_path, caplog):
    store = Store(tmp_path, tmp_path / "cache")
    store.write_record(content("abc", metrics={"kid": 0.25}))
    path, intact = store.record_path("abc"), store.record_path("abc").read_text()
    assert store.record("abc").metrics == {"kid": 0.25} and not caplog.messages
    for corrupted in (intact[:40], intact.replace("0.25", "0.24"), "[]", "{}", ""):
        path.write_text(corrupted)
        assert store.record("abc") is None and store.sound("abc") is None
        assert f"{path} is corrupted" in caplog.messages[-1]


def test_a_corrupted_file_beside_a_record_is_named(tmp_path, caplog):
    store = Store(tmp_path, tmp_path / "cache")
    for suffix in (".png", ".curves.json"):
        store.beside("abc", suffix).parent.mkdir(exist_ok=True)
        store.beside("abc", suffix).write_bytes(b"x" * 50)
    store.write_record(content("abc"))
    assert store.sound("abc") is not None
    store.beside("abc", ".png").write_bytes(b"x" * 49 + b"y")
    assert store.sound("abc") is None and "abc.png is corrupted" in caplog.messages[-1]
    assert store.record("abc") is not None  # its numbers are whole
    store.beside("abc", ".png").unlink()
    assert store.sound("abc") is None and "abc.png is missing" in caplog.messages[-1]


def test_corrupted_curves_are_named_and_left_out(tmp_path, caplog):
    store = Store(tmp_path, tmp_path / "cache")
    for key in ("whole", "bent", "half", "lost"):
        write_json(store.beside(key, CURVES), {"images": [4, 8], "loss": [1.0, 0.5]})
        store.write_record(content(key))
    failed = content("none")
    fail(failed)
    store.write_record(failed)
    text = store.beside("bent", CURVES).read_text()
    store.beside("bent", CURVES).write_text(text.replace("0.5", "0.1"))
    store.beside("half", CURVES).write_text(text[:20])
    store.beside("lost", CURVES).unlink()
    store.beside("stray", CURVES).write_text(text)  # of a trial that was killed before its record
    records = store.records(["whole", "bent", "half", "lost", "none", "stray"])
    assert store.curves(records) == {"whole": {"images": [4, 8], "loss": [1.0, 0.5]}}
    assert caplog.messages == [
        f"{store.beside(key, CURVES)} is {what}; `cabench run` regenerates it"
        for key, what in (("bent", "corrupted"), ("half", "corrupted"), ("lost", "missing"))
    ]


def test_the_reference_stands_in_only_when_asked(tmp_path):
    Store(tmp_path / "reference", tmp_path).write_record(content("k"))
    results, cache = tmp_path / "results", tmp_path / "cache"
    assert Store(results, cache).record("k") is None
    assert Store(results, cache, tmp_path / "reference").record("k").key == "k"


def test_records_have_a_limit(tmp_path):
    with pytest.raises(ValueError, match="bytes; the limit is"):
        Store(tmp_path, tmp_path).write_record(content("k", error="x" * 30_000))


def test_a_record_of_another_format_is_neither_used_nor_replaced(tmp_path):
    store = Store(tmp_path, tmp_path)
    store.write_record(content("k"))
    write_json(store.record_path("k"), seal(content("k", format=2)))
    with pytest.raises(CabenchError, match=r"k\.json: expected a record of format 1, got 2$"):
        store.record("k")


def test_what_killed_runs_left_is_swept_up_once_it_is_old(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "cache")
    judge, mine = tmp_path / "cache" / "judge", tmp_path / "cache" / "film.part"
    parts = [*(judge / f".x.{age}{PART}" for age in (10, 4000)), mine]
    for part, age in zip(parts, (10, 4000, 4000), strict=True):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("half")
        os.utime(part, (part.stat().st_mtime - age,) * 2)
    store.sweep()
    assert [part.exists() for part in parts] == [True, False, True]


def test_scratch_is_swept_up_unless_it_is_in_use(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "cache")
    left = tmp_path / "cache" / "ray-x.scratch"
    left.mkdir(parents=True)
    with store.scratch("ray") as folder:
        store.sweep()
        assert folder.exists() and not left.exists()
    assert not folder.exists()


def test_the_record_of_another_trial_is_named_and_counts_as_absent(tmp_path, caplog):
    store = Store(tmp_path, tmp_path / "cache")
    store.write_record(content("a" * 16))
    store.record_path("b" * 16).write_bytes(store.record_path("a" * 16).read_bytes())
    assert store.record("a" * 16) is not None
    assert store.record("b" * 16) is None
    assert f"is the record of {'a' * 16}" in caplog.text


def test_control_characters_of_a_record_do_not_reach_a_terminal(tmp_path):
    store = Store(tmp_path, tmp_path / "cache")
    error = "\x1b]0;title\x07 \x9b31m\tred\nline"
    record = store.write_record(content("a" * 16, status="failed", error=error))
    assert record.error == "\\x1b]0;title\\x07 \\x9b31m\tred\nline"


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_obey_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        with atomic_folder(tmp_path / "folder") as part:
            (part / "x").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_pipes_and_deep_documents_are_refused_at_once(tmp_path, caplog):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, text in (("pipe", "not a regular file"), ("deep.json", "nested too deeply")):
        with pytest.raises(CabenchError, match=text):
            read_json(tmp_path / name)
        assert read_valid(tmp_path / name, read_sealed) is None
        assert f"{name} is corrupted" in caplog.text
    assert not is_valid(tmp_path / "pipe", lambda path: bool(path.read_bytes()))
    assert read_valid(tmp_path / "pipe", lambda path: path.read_bytes()) is None


def test_a_sealed_record_that_is_nested_deeply_is_refused(tmp_path):
    store = Store(tmp_path, tmp_path)
    store.write_record(content("k"))
    deep = "\a"  # a character that has to be escaped
    for _ in range(700):  # as deep as the JSON reader allows
        deep = [deep]
    write_json(store.record_path("k"), seal(content("k", metrics=deep)))
    # Python 3.12 reads it, and then finds that it is no dictionary
    with pytest.raises(CabenchError, match="not a valid record: (nested too deeply|metrics: )"):
        store.record("k")


@pytest.mark.parametrize("name", ["ESTALE", "EMFILE", "ENOMEM", "ETIMEDOUT", "ENOLCK"])
def test_a_record_is_not_taken_as_corrupted_when_the_machine_fails(tmp_path, monkeypatch, name):
    store = Store(tmp_path, tmp_path)
    store.write_record(content("k"))

    def fail(*_, **__):
        raise OSError(getattr(errno, name), "fault", str(store.record_path("k")))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        with pytest.raises(OSError, match="fault"):
            store.record("k")
    assert store.record("k") is not None


def test_csv_cells_are_no_formulas(tmp_path):
    write_csv(tmp_path / "t.csv", [{"arm": "=1+1", "@x": -1.5}])
    assert (tmp_path / "t.csv").read_text().splitlines() == ["arm,'@x", "'=1+1,-1.5"]
