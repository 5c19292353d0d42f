"""Whether the libraries that a metric imports when it scores can be imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from cabench.errors import describe
from cabench.metrics.base import extractor_of
from cabench.metrics.extractors import DEFAULT
from cabench.registry import EXTRACTORS, METRICS


def import_fault(name: str) -> str | None:
    """The first library of a metric, or of its feature extractors, that cannot be imported.

    None if all can. Such as torchvision for CUDA beside torch for the CPU: it is installed, and
    importing it raises RuntimeError.
    """
    for part, library in _libraries(name):
        try:
            import_module(library)
        except (Exception, SystemExit) as error:  # whatever the library's code raises
            return f"{part}library '{library}' cannot be imported: {describe(error)}"
    return None


def _libraries(name: str) -> Iterator[tuple[str, str]]:
    """Whose library it is, in words before its name, and the library."""
    metric = METRICS.get(name)
    for library in getattr(metric, "libraries", ()):
        yield "", library
    if metric.needs == "samples":  # scored beside the default extractor's features
        for extractor in dict.fromkeys((extractor_of(metric), DEFAULT)):
            for library in getattr(EXTRACTORS.get(extractor), "libraries", ()):
                yield f"feature extractor '{extractor}': ", library
