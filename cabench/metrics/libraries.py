"""Whether the libraries that a metric imports when it scores can be imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from cabench.errors import describe
from cabench.metrics.base import extractor_of
from cabench.metrics.extractors import DEFAULT
from cabench.registry import EXTRACTORS, METRICS


def import_fault(name: str, on_gpu: bool = False) -> str | None:
    """The first library of a metric, or of its feature extractors, that cannot be imported.

    None if all can. On a GPU torch takes the place of onnxruntime. A library may be installed and
    raise RuntimeError, such as torchvision for CUDA beside torch for the CPU.
    """
    for part, library in _libraries(name, on_gpu):
        try:
            import_module(library)
        except (Exception, SystemExit) as error:  # whatever the library's code raises
            return f"{part}library '{library}' cannot be imported: {describe(error)}"
    return None


def _libraries(name: str, on_gpu: bool) -> Iterator[tuple[str, str]]:
    """Whose library it is, in words before its name, and the library."""
    metric = METRICS.get(name)
    for library in getattr(metric, "libraries", ()):
        yield "", library
    if metric.needs == "samples":  # scored beside the default extractor's features
        for extractor in dict.fromkeys((extractor_of(metric), DEFAULT)):
            entry = EXTRACTORS.get(extractor)
            libraries = getattr(entry, "libraries", ())
            for library in getattr(entry, "gpu_libraries", libraries) if on_gpu else libraries:
                yield f"feature extractor '{extractor}': ", library
