"""Weights that torch-fidelity opens hold tensors only."""

import pickle
from pathlib import Path

import pytest

from cabench.errors import CabenchError
from cabench.registry import EXTRACTORS


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_weights_file_runs_no_code(tmp_path, monkeypatch):
    name = "inception-v3-compat"
    (tmp_path / f"{name}.pth").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(CabenchError, match="doesn't open"):
        _ = EXTRACTORS.get(name)(tmp_path)._network
    assert not (tmp_path / "ran").exists()
