"""Load data sets by name, with checked options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from cabench.config.yaml import Document
from cabench.data.catalogue import OPENERS, Catalogue, catalogue_of
from cabench.data.contract import fault
from cabench.data.dataset import Dataset
from cabench.data.listing import is_utf8
from cabench.errors import CabenchError, cut, describe, shown
from cabench.registry import DATASETS, plugin_of
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
    """The data set of the source `name`; DataMissing if its files are absent or unreadable.

    CabenchError where a plugin's source fails, or what it returns is not as a data set must be.
    """
    source: Source = DATASETS.get(name)
    options = checked(name, options)
    if plugin_of(source) is None:
        return source(**options)
    try:
        dataset = source(**options)
        problem = fault(dataset)
    except (CabenchError, OSError):
        raise
    except (Exception, SystemExit) as error:  # whatever a plugin's code raises
        problem = describe(error)
    if problem:
        raise CabenchError(f"data set '{name}': {problem}")
    return dataset


def open_catalogue(name: str, **options: Any) -> Catalogue:
    """The catalogue of the source `name`; decodes nothing where images are single files."""
    if name in OPENERS:
        return OPENERS[name](**checked(name, options))
    return catalogue_of(load_dataset(name, **options))


def checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, validated and converted; CabenchError names the first wrong one."""
    model = options_model(name)
    try:
        valid = validate(model, options)
    except ValidationError as error:
        where, text = first_fault(error, model, options)
        key = ".".join(map(str, ("options", *where)))
        if where[0] in model.model_fields and where[0] not in options:
            text += f"; on the command line: -o {where[0]}=VALUE"
        raise CabenchError(f"data set '{name}': {key}: {text}") from None
    return {option: getattr(valid, option) for option in options}


def parse_options(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """['path=1e3', 'size=64'] -> {'path': '1e3', 'size': 64}: each by the type of the option."""
    fields = options_model(name).model_fields
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CabenchError(f"--option: expected KEY=VALUE, as in path=DIR, got {shown(text)}")
        if key in options:
            raise CabenchError(f"--option: '{key}' is given twice")
        if not value.isascii() and not is_utf8(value):
            raise CabenchError(f"--option: {key}: expected text in UTF-8, got {shown(value)}")
        field = fields.get(key)
        options[key] = value if field is None else parse_value(value, field.rebuild_annotation())
    return options


def parse_value(text: str, annotation: Any) -> Any:
    """The text itself where the type takes text, else what it says in YAML."""
    if annotation is not Any and _takes(annotation, text):
        return text
    try:
        return Document.parse(f"value: {text}", "option", "option").content["value"]
    except CabenchError:
        return text  # which is refused as a value of the wrong type


def _takes(annotation: Any, value: Any) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
        return True
    except ValidationError:
        return False


def contract(source: Any) -> str | None:
    """What is wrong with a registered data source, or None."""
    try:
        options_model(source.name)
    except Exception as error:  # an unknown annotation, or one that pydantic cannot validate
        text = cut(f"{type(error).__name__}: {error}", 200)
        return f"cannot read its arguments as options: {text}"
    return None


DATASETS.contract = contract
