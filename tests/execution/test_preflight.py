"""What is refused before anything trains, in `run` and `run --dry-run`."""

import os
import sys

import pytest
from cli import cabench, spawn
from specs import write

pytestmark = pytest.mark.slow

RUN = ("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_library_that_does_not_import_is_named(tiny, monkeypatch, more):
    """As torchvision for CUDA beside torch for the CPU, which torch-fidelity imports."""
    text = "operator torchvision::nms does not exist"
    (tiny / "stand-in").mkdir()
    write(tiny / "stand-in/torchvision.py", f"raise RuntimeError({text!r})\n")
    path = os.pathsep.join([str(tiny / "stand-in"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    code, _, err = spawn(*RUN, *more, cwd=tiny)
    line = "scale.yaml:9: metrics: metric 'kid': library 'torch_fidelity' cannot be imported: "
    assert code == 2 and err.startswith(f"cabench: {line}RuntimeError: {text}"), err
    assert err.count("\n") == 1
    assert not (tiny / "results/records").exists()


def test_the_library_of_a_feature_extractor_is_tried(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # its import raises ImportError
    code, _, err = cabench(*RUN, "--dry-run")
    part = "metric 'kid': feature extractor 'efficientnet-lite0': library 'onnxruntime'"
    assert code == 2 and f"{part} cannot be imported" in err and err.count("\n") == 1
