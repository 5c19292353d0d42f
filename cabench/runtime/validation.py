"""pydantic's errors in plain words: where, what was expected, what was given, the nearest match."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cabench.errors import Where, cut, listed, near, shown

NAME = r"^[a-z0-9][a-z0-9_+.\-]{0,59}$"
LONGEST_NAME = 60  # characters
NO_DOT = NAME.replace(".", "")  # of studies and scales: a run's folder is STUDY.SCALE
CLAIM_OF = r"^[a-z0-9][a-z0-9_+\-]{0,59}\.[^.\s][^\s]*$"
Model = TypeVar("Model", bound=BaseModel)

KINDS = {  # by the first word of pydantic's error type
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "none": "null",
}

NAMES = {  # by pattern
    NAME: "a name of 1 to 60 characters a-z 0-9 _ + - . that begins with a letter or digit",
    NO_DOT: "the name of a study or scale, 1 to 60 characters a-z 0-9 _ + - that begins with a "
    "letter or digit (no dot: a run's folder is STUDY.SCALE)",
    CLAIM_OF: "STUDY.CLAIM, such as layer_placement.C1",
}


def validate(model: type[Model], value: Any) -> Model:
    """Plain data as a `model`, strictly: text is not a number, 1 is not true.

    A JSON list may become a tuple.
    """
    return model.model_validate_json(json.dumps(value), strict=True)


def first_fault(error: ValidationError, model: type[BaseModel], value: Any) -> tuple[Where, str]:
    """The place of the most telling of pydantic's errors, and one clause about it.

    An unknown key comes first (a missing key is often the same slip), then the deepest place: of a
    union's branches, the one that fits furthest. Branches that fail alike are joined by 'or'.
    """
    places = [(_place(e, value), e) for e in error.errors()]
    where, telling = min(places, key=lambda p: (p[1]["type"] != "extra_forbidden", -len(p[0])))
    if telling["type"] == "extra_forbidden":
        allowed = allowed_keys(model, where[:-1])
        return where, f"unknown key{near(str(where[-1]), allowed)}; allowed: {listed(allowed)}"
    if telling["type"] == "missing":
        what = "key" if isinstance(where[-1], str) else "item"
        return where, f"this {what} is missing"
    same = [e for place, e in places if place == where]
    kinds = [_kind(e) for e in same]
    if None in kinds:  # the value has the right type, so this branch was meant
        return where, _clause(same[kinds.index(None)])
    expected, given = " or ".join(dict.fromkeys(filter(None, kinds))), telling["input"]
    hint = near(given, re.findall("'([^']+)'", expected)) if isinstance(given, str) else ""
    return where, f"expected {expected}, got {shown(given)}{hint}"


def _place(error: ErrorDetails, value: Any) -> Where:
    """Keys and indices of an error's place, without the names of a union's branches."""
    where: list[str | int] = []
    last = len(error["loc"]) - 1
    for i, part in enumerate(error["loc"]):
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside or (i == last and error["type"] == "missing"):
            where.append(part)
        if inside:
            value = value[part]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return tuple(where)


def _kind(error: ErrorDetails) -> str | None:
    """'a list', "'linear' or 'cosine'": what was expected, if the type or literal is wrong."""
    if error["type"] == "literal_error":
        return error.get("ctx", {})["expected"]
    if error["type"].endswith(("_type", "_parsing", "_from_float")):
        return KINDS.get(error["type"].split("_")[0])
    return None


def _clause(error: ErrorDetails) -> str:
    """One clause about a value of the right type."""
    given, context = error["input"], error.get("ctx", {})
    if error["type"] == "value_error":  # from one of our validators, which may name the value
        text = cut(error["msg"].removeprefix("Value error, "), 300)
        if isinstance(given, dict) or shown(given).strip("'") in text:
            return text
        return f"{text}, got {shown(given)}"
    if error["type"] == "string_pattern_mismatch":
        expected = NAMES.get(context["pattern"], f"text that matches {context['pattern']}")
    elif error["type"] in ("too_short", "too_long"):
        few = error["type"] == "too_short"
        count = context["min_length" if few else "max_length"]
        items = "item" if count == 1 else "items"
        expected = f"a list of at {'least' if few else 'most'} {count} {items}"
    else:
        expected = error["msg"].removeprefix("Input should be ")
        if error["type"].startswith(("greater", "less")):
            expected = f"a number {expected}"
    return f"expected {cut(expected, 300)}, got {shown(given)}"


def allowed_keys(model: type[BaseModel], where: Where) -> list[str]:
    """The keys that the part of `model` at `where` takes."""
    for part in where:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = nested_model(field.annotation) if field is not None else None
        model = inner or model
    return list(model.model_fields)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside a type such as `dict[str, Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        model = nested_model(inner)
        if model is not None:
            return model
    return None


def valid_name(text: str) -> str:
    """The text as a name of a study or scale; what that changes is marked by a hash."""
    name = re.sub(r"[^a-z0-9_+-]", "_", text.lower())
    if name == text.replace(".", "_") and len(name) <= LONGEST_NAME:
        return name
    ending = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(ending) - 1]}-{ending}"
