import subprocess
import sys

import numpy as np
import pytest

from cabench.runtime.sealed import cached_arrays, cached_file

SLOW_MAKER = """
import sys, time
from pathlib import Path
from cabench.runtime.sealed import cached_file

def make(path):
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    path.write_text("whole")

assert cached_file(Path(sys.argv[1]), make).read_text() == "whole"
"""


def test_parallel_processes_make_a_file_once(tmp_path):
    target, log = tmp_path / "folder" / "file.txt", tmp_path / "log"
    command = [sys.executable, "-c", SLOW_MAKER, str(target), str(log)]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert log.read_text() == "made\n"


def test_a_failed_make_leaves_nothing_behind(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        cached_file(tmp_path / "file.txt", fail)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_arrays_come_back_and_a_broken_file_is_remade(tmp_path):
    path, calls = tmp_path / "a.npz", []

    def make():
        calls.append(1)
        return {"x": np.arange(3), "name": np.asarray(0.5)}

    for expected_calls in (1, 1):
        assert cached_arrays(path, make)["x"].tolist() == [0, 1, 2]
        assert len(calls) == expected_calls
    path.write_bytes(path.read_bytes()[:50])
    assert float(cached_arrays(path, make)["name"]) == 0.5
    assert len(calls) == 2


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    loaded = cached_arrays(path, lambda: {"x": np.zeros(1)})
    assert loaded["x"].dtype == float
