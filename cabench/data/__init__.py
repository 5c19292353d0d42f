"""Data sources: `load_dataset(name, **options)` gives a Dataset of three disjoint splits."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from cabench.data import digits, emoji, fashion16, fashion_mnist, folder  # noqa: F401  (they register)
from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.errors import CabenchError
from cabench.faults import first_fault, validate
from cabench.registry import DATASETS

__all__ = ["SPLITS", "Dataset", "Split", "load_dataset", "options_model"]


def options_model(name: str) -> type[BaseModel]:
    """What a source takes, from its function's arguments: their names, types and defaults."""
    arguments = inspect.signature(DATASETS.get(name), eval_str=True).parameters.values()
    fields = {
        a.name: (
            Any if a.annotation is a.empty else a.annotation,
            ... if a.default is a.empty else a.default,
        )
        for a in arguments
    }
    return create_model(f"{name} options", __config__=ConfigDict(extra="forbid"), **fields)


def load_dataset(name: str, **options: Any) -> Dataset:
    """The data set registered as `name`, made with its source's options."""
    source, model = DATASETS.get(name), options_model(name)
    try:
        checked = validate(model, options)
    except ValidationError as error:
        where, text = first_fault(error, model, options)
        key = ".".join(map(str, ("options", *where)))
        raise CabenchError(f"data set '{name}': {key}: {text}") from None
    return source(**{option: getattr(checked, option) for option in options})
