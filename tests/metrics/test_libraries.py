"""Libraries that metrics import when they score."""

import sys

import pytest

from cabench import metrics
from cabench.metrics.libraries import import_fault

LIBRARIES = {
    "fid_lite0_112": "torch_fidelity",
    "fid_inception": "torch_fidelity",
    "kid_classwise": "torch_fidelity",
    "kid_trained": "torch_fidelity",
    "condition_accuracy": "sklearn",
    "condition_error": "sklearn",
    "map_agreement": "scipy",
    "clip_score": "transformers",
    "memorised": "onnxruntime",
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_library_that_a_metric_needs_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)  # its import raises ImportError
    fault = import_fault(name)
    assert fault and f"library '{LIBRARIES[name]}' cannot be imported: ModuleNotFound" in fault


def test_a_gpu_does_without_onnxruntime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("kid", "kid_levels", "fid_lite0_112", "memorised", "condition_accuracy"):
        assert import_fault(name) and import_fault(name, on_gpu=True) is None


def test_all_libraries_of_the_tests_import():
    chosen = [name for name in metrics.names() if name != "clip_score"]  # of the extra `text`
    assert {name: import_fault(name) for name in chosen} == dict.fromkeys(chosen)
