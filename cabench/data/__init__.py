"""Data sources: `load_dataset(name, **options)` gives a Dataset of three disjoint splits."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from cabench.data.catalogue import OPENERS, Catalogue, catalogue_of
from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.data.sources import (  # noqa: F401  (they register)
    cifar10,
    coco,
    digits,
    emoji,
    fashion16,
    fashion_mnist,
    folder,
    imagenet64,
    latents,
)
from cabench.errors import CabenchError, cut
from cabench.registry import DATASETS
from cabench.runtime.validation import first_fault, validate

__all__ = ["SPLITS", "Dataset", "Split", "load_dataset", "open_catalogue", "options_model"]


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
    return DATASETS.get(name)(**checked(name, options))


def open_catalogue(name: str, **options: Any) -> Catalogue:
    """What the source `name` holds, listed; decodes nothing where pictures are files."""
    source, told = DATASETS.get(name), checked(name, options)
    return OPENERS[name](**told) if name in OPENERS else catalogue_of(source(**told))


def checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """A source's options, once they have been found right."""
    model = options_model(name)
    try:
        found = validate(model, options)
    except ValidationError as error:
        where, text = first_fault(error, model, options)
        key = ".".join(map(str, ("options", *where)))
        raise CabenchError(f"data set '{name}': {key}: {text}") from None
    return {option: getattr(found, option) for option in options}


def contract(source: Any) -> str | None:
    """What is wrong with a registered data source, or None."""
    try:
        options_model(source.name)
    except Exception as error:  # an unknown annotation, or one that pydantic cannot validate
        text = cut(f"{type(error).__name__}: {error}", 200)
        return f"cannot read its arguments as options: {text}"
    return None


DATASETS.contract = contract
