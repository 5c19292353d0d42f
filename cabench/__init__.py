"""Which way of telling a diffusion transformer its condition works best, and how sure are we?"""

from typing import Any

__all__ = ["load", "load_curves", "load_weights"]


def __getattr__(name: str) -> Any:
    """Imports the loaders on first use, so that `import cabench` stays fast."""
    if name in ("load", "load_curves", "load_weights"):
        from cabench.analysis import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'cabench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
