"""Keys, atomic files, records."""

import json
import os

import pytest

from cabench.errors import CabenchError
from cabench.store import Store, atomic_path, content_key, read_json, write_json


def test_keys_follow_the_content_not_its_order():
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert content_key("train", 1) != content_key("sample", 1)
    assert len(content_key(1)) == 16


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x" / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError), atomic_path(path) as part:
        part.write_text('{"new"')
        raise ValueError
    assert read_json(path) == {"old": 1}
    assert os.listdir(path.parent) == ["a.json"]


def test_nan_never_reaches_the_disk(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"kid": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_damaged_record_is_named(tmp_path):
    store = Store(tmp_path, tmp_path / "cache")
    store.record_path("abc").parent.mkdir()
    store.record_path("abc").write_text('{"key": ')
    with pytest.raises(CabenchError, match="abc.json can't be read"):
        store.record("abc")


def test_the_reference_stands_in_only_when_asked(tmp_path):
    (tmp_path / "reference" / "records").mkdir(parents=True)
    (tmp_path / "reference" / "records" / "k.json").write_text(json.dumps({"key": "k"}))
    results, cache = tmp_path / "results", tmp_path / "cache"
    assert Store(results, cache).record("k") is None
    assert Store(results, cache, tmp_path / "reference").record("k") == {"key": "k"}


def test_records_have_a_limit(tmp_path):
    with pytest.raises(ValueError, match="bytes; the limit is"):
        Store(tmp_path, tmp_path).write_record({"key": "k", "spec": "x" * 30_000})
