"""Benchmark and ablate conditioning methods for diffusion transformers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cabench.analysis.loading import load, load_curves, load_weights

__all__ = ["load", "load_curves", "load_weights"]


def __getattr__(name: str) -> Any:
    """Imports the loaders on first use, so that `import cabench` stays fast."""
    if name in __all__:
        from cabench.analysis import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'cabench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
