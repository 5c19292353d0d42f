"""Which way of telling a diffusion transformer its condition works best, and how sure are we?"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "load_curves", "load_weights"]


def __getattr__(name: str) -> Any:
    """What `loading` offers, on first use: pandas is not paid for by `import cabench`."""
    if name in __all__:
        from cabench.analysis import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'cabench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
