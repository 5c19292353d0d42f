"""Verified files: written once, regenerated and reported when corrupted."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cabench.runtime.files import file_hash, write_json
from cabench.runtime.sealed import (
    Corrupted,
    cached_arrays,
    cached_file,
    changed_files,
    is_valid,
    load_or_make,
    read_sealed,
    read_valid,
    seal,
)

SLOW_WRITER = """
import sys, time
from pathlib import Path
from cabench.runtime.sealed import cached_file

def write(path):
    with open(sys.argv[2], "a") as log:
        log.write("written\\n")
    time.sleep(0.5)
    path.write_text("content")

assert cached_file(Path(sys.argv[1]), write).read_text() == "content"
"""


def test_parallel_processes_write_a_file_once(tmp_path):
    target, log = tmp_path / "folder" / "file.txt", tmp_path / "log"
    command = [sys.executable, "-c", SLOW_WRITER, str(target), str(log)]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert log.read_text() == "written\n"


def test_a_failed_write_leaves_no_file(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        cached_file(tmp_path / "file.txt", fail)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_cached_arrays_are_regenerated_when_corrupted(tmp_path, caplog):
    path, calls = tmp_path / "a.npz", []

    def make():
        calls.append(1)
        return {"x": np.arange(3), "name": np.asarray(0.5)}

    for _ in range(2):
        assert cached_arrays(path, make)["x"].tolist() == [0, 1, 2]
        assert len(calls) == 1
    assert not caplog.messages
    path.write_bytes(path.read_bytes()[:50])
    assert float(cached_arrays(path, make)["name"]) == 0.5
    assert len(calls) == 2 and caplog.messages == [f"{path} is corrupted; regenerated"]


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    loaded = cached_arrays(path, lambda: {"x": np.zeros(1)})
    assert loaded["x"].dtype == float


def test_a_file_that_fails_its_check_is_reported_and_an_absent_one_is_not(tmp_path, caplog):
    path = tmp_path / "a"
    assert not is_valid(path, lambda _: True) and read_valid(path, json.loads) is None
    path.write_text("x")
    assert is_valid(path, lambda p: p.read_text() == "x") and not caplog.messages
    assert not is_valid(path, lambda p: False, "delete it")
    assert caplog.messages == [f"{path} is corrupted; delete it"]


def test_only_errors_of_unreadable_content_count_as_corruption(tmp_path, caplog):
    path = tmp_path / "a"
    path.write_text("x")

    def fail(error):
        def read(_):
            raise error

        return read

    for error in (Corrupted("x"), ValueError("x"), KeyError("x"), TypeError("x")):
        assert read_valid(path, fail(error)) is None
    assert len(caplog.messages) == 4
    with pytest.raises(OSError, match="disk"):
        read_valid(path, fail(OSError("disk")))
    assert read_valid(path, fail(OSError("gone")), errors=(OSError,)) is None


def test_a_corrupted_folder_is_regenerated(tmp_path):
    folder = tmp_path / "set"

    def read(path):
        return (path / "a").read_text()

    def make(path):
        path.mkdir()
        (path / "a").write_text("content")

    for _ in range(2):
        assert load_or_make(folder, read, make, errors=(OSError,)) == "content"
        (folder / "a").rename(folder / "b")
    assert [p.name for p in folder.iterdir()] == ["b"]


def test_a_sealed_document_is_read_back_unless_it_was_changed(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, seal({"loss": 0.5, "rates": [1, 2]}))
    assert read_sealed(path)["loss"] == 0.5
    path.write_text(path.read_text().replace("0.5", "0.4"))
    with pytest.raises(Corrupted):
        read_sealed(path)
    with pytest.raises(ValueError, match="JSON"):
        seal({"loss": float("nan")})


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"\xff\xfe" * 32), as_pipe])
def test_a_corrupted_checksum_file_is_regenerated(tmp_path, spoil):
    path = cached_file(tmp_path / "x", lambda part: part.write_text("content"))
    spoil(tmp_path / "x.sha256")
    assert cached_file(path, lambda part: part.write_text("again")).read_text() == "again"
    assert cached_file(path, lambda part: part.write_text("third")).read_text() == "again"


def test_a_folder_is_not_regenerated_when_the_machine_fails(tmp_path):
    (tmp_path / "set").mkdir()

    def read(_):
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many"):
        load_or_make(tmp_path / "set", read, make=pytest.fail, errors=(OSError,))
    assert (tmp_path / "set").is_dir()


def test_changed_files_are_named(tmp_path):
    hashes = {}
    for name in "abc":
        (tmp_path / name).write_text(name)
        hashes[name] = file_hash(tmp_path / name)
    assert changed_files(tmp_path, hashes) == {}
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to("nowhere")
    expected = f"expected sha256 {hashes['a'][:12]}, got 2d711642b726"
    assert changed_files(tmp_path, hashes) == {"a": expected, "b": "No such file or directory"}
