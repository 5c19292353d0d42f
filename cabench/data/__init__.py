"""Data sources: `load_dataset(name, **options)` gives a Dataset of three disjoint splits."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

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
    try:
        return validate_call(source, config=ConfigDict(strict=True))(**options)
    except ValidationError as error:  # a value of the wrong type, such as YAML's `no` for false
        first = error.errors()[0]
        raise CabenchError(
            f"data set '{name}': option '{first['loc'][0]}': {first['msg'].lower()}; "
            f"found {first['input']!r}"
        ) from None
