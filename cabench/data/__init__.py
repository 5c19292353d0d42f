"""Data sources: `load_dataset(name, **options)` gives a Dataset of three disjoint splits."""

from __future__ import annotations

import inspect
from typing import Any

from cabench.data import digits, emoji, fashion16, fashion_mnist, folder  # noqa: F401  (they register)
from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.errors import CabenchError
from cabench.registry import DATASETS, near

__all__ = ["SPLITS", "Dataset", "Split", "load_dataset"]


def load_dataset(name: str, **options: Any) -> Dataset:
    """The data set registered as `name`, made with its source's options."""
    source = DATASETS.get(name)
    known = inspect.signature(source).parameters
    for option in options:
        if option not in known:
            raise CabenchError(
                f"unknown option '{option}' of data set '{name}'{near(option, known)}; "
                f"known: {', '.join(known) or 'none'}"
            )
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise CabenchError(f"data set '{name}' needs the option '{option}'")
    return source(**options)
