"""Benchmark and ablate conditioning methods for diffusion transformers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cabench.analysis.loading import load, load_curves, load_weights
    from cabench.analysis.study_results import StudyResults, image_grid, load_results
    from cabench.api.models import SavedSamples, TrainedModel, load_model, sample, samples
    from cabench.api.studies import run_study

__all__ = [
    "SavedSamples",
    "StudyResults",
    "TrainedModel",
    "image_grid",
    "load",
    "load_curves",
    "load_model",
    "load_results",
    "load_weights",
    "run_study",
    "sample",
    "samples",
]

_HOMES = {
    "cabench.analysis.loading": ("load", "load_curves", "load_weights"),
    "cabench.analysis.study_results": ("StudyResults", "image_grid", "load_results"),
    "cabench.api.models": ("SavedSamples", "TrainedModel", "load_model", "sample", "samples"),
    "cabench.api.studies": ("run_study",),
}


def __getattr__(name: str) -> Any:
    """Imports a function's module on first use, so that `import cabench` stays fast."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'cabench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
