"""Load data sets by name, with checked options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from cabench.data.catalogue import OPENERS, Catalogue, catalogue_of
from cabench.data.dataset import Dataset
from cabench.errors import CabenchError, cut
from cabench.registry import DATASETS
from cabench.runtime.validation import first_fault, validate

Source = Callable[..., Dataset]


def options_model(name: str) -> type[BaseModel]:
    """The options of a data source: the arguments of its function, with types and defaults."""
    arguments = inspect.signature(DATASETS.get(name), eval_str=True).parameters.values()
    fields: dict[str, Any] = {
        a.name: (
            Any if a.annotation is a.empty else a.annotation,
            ... if a.default is a.empty else a.default,
        )
        for a in arguments
    }
    return create_model(f"{name} options", __config__=ConfigDict(extra="forbid"), **fields)


def load_dataset(name: str, **options: Any) -> Dataset:
    """The data set of the source `name`; DataMissing if its files are absent or unreadable."""
    return DATASETS.get(name)(**checked(name, options))


def open_catalogue(name: str, **options: Any) -> Catalogue:
    """The catalogue of the source `name`; decodes nothing where images are single files."""
    source: Source = DATASETS.get(name)
    options = checked(name, options)
    return OPENERS[name](**options) if name in OPENERS else catalogue_of(source(**options))


def checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, validated and converted; CabenchError names the first wrong one."""
    model = options_model(name)
    try:
        valid = validate(model, options)
    except ValidationError as error:
        where, text = first_fault(error, model, options)
        key = ".".join(map(str, ("options", *where)))
        raise CabenchError(f"data set '{name}': {key}: {text}") from None
    return {option: getattr(valid, option) for option in options}


def contract(source: Any) -> str | None:
    """What is wrong with a registered data source, or None."""
    try:
        options_model(source.name)
    except Exception as error:  # an unknown annotation, or one that pydantic cannot validate
        text = cut(f"{type(error).__name__}: {error}", 200)
        return f"cannot read its arguments as options: {text}"
    return None


DATASETS.contract = contract
