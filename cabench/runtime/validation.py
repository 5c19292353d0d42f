"""pydantic's errors in a study's words: where, what was found, what is allowed, the near match."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cabench.errors import cut, listed, near, shown

NAME = r"^[a-z0-9][a-z0-9_+.\-]{0,59}$"
NO_DOT = NAME.replace(".", "")  # of studies and scales: a run's folder is STUDY.SCALE
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
    NAME: "a name has 1 to 60 of a-z 0-9 _ + - . and begins with a letter or digit",
    NO_DOT: "the name of a study or scale has 1 to 60 of a-z 0-9 _ + -, begins with a letter or "
    "digit and holds no dot, since a run's folder is STUDY.SCALE",
}


def validate(model: type[Model], value: Any) -> Model:
    """`value`, plain data, as a `model`: text is no number, 1 is not true, a list is a tuple."""
    return model.model_validate_json(json.dumps(value), strict=True)


def first_fault(
    error: ValidationError, model: type[BaseModel], value: Any
) -> tuple[tuple[Any, ...], str]:
    """Where the most telling of pydantic's errors is, and one clause about it.

    An unknown key comes first (a missing one is often the same slip), then the deepest place (of a
    union's branches, the one that fitted furthest). Branches that failed alike are joined by 'or'.
    """
    found = [(_place(e, value), e) for e in error.errors()]
    where, telling = min(found, key=lambda f: (f[1]["type"] != "extra_forbidden", -len(f[0])))
    if telling["type"] == "extra_forbidden":
        allowed = allowed_keys(model, where[:-1])
        return where, f"unknown key{near(where[-1], allowed)}; allowed: {listed(allowed)}"
    if telling["type"] == "missing":
        text = "this key is missing" if isinstance(where[-1], str) else "this item is missing"
        return where, text
    same = [e for place, e in found if place == where]
    for e in same:
        if _expected(e) is None:  # the right kind of value, so that this branch was meant
            return where, _clause(e)
    kinds = " or ".join(dict.fromkeys(map(_expected, same)))
    text = f"should be {kinds}; found {shown(telling['input'])}"
    return where, text + _near(telling["input"], kinds)


def _place(error: Any, value: Any) -> tuple[Any, ...]:
    """Keys and indices of an error's place: pydantic names a union's branches in it, too."""
    where: list[Any] = []
    last = len(error["loc"]) - 1
    for i, part in enumerate(error["loc"]):
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside or (i == last and error["type"] == "missing"):
            where.append(part)
        value = value[part] if inside else value
    return tuple(where)


def _expected(error: Any) -> str | None:
    """'a list', "'linear' or 'cosine'": what kind of value was wanted, if that is the fault."""
    if error["type"] == "literal_error":
        return error["ctx"]["expected"]
    if error["type"].endswith(("_type", "_parsing", "_from_float")):
        return KINDS.get(error["type"].split("_")[0])
    return None


def _near(found: Any, kinds: str) -> str:
    return near(found, re.findall(r"'([^']+)'", kinds)) if isinstance(found, str) else ""


def _clause(error: Any) -> str:
    """One clause for an error that is not about the kind of value."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] in NAMES:
        text = NAMES[error["ctx"]["pattern"]]
    elif error["type"] == "value_error":  # of a check of our own, which may say what was found
        text = cut(error["msg"].removeprefix("Value error, "), 300)
        if isinstance(error["input"], dict) or shown(error["input"]).strip("'") in text:
            return text
    else:
        text = error["msg"].removeprefix("Input ").split(" after validation")[0]
        text = text.replace("Tuple", "list").replace("String", "text")
    return f"{cut(text[0].lower() + text[1:], 300)}; found {shown(error['input'])}"


def allowed_keys(model: type[BaseModel], where: tuple[Any, ...]) -> list[str]:
    """The keys that the part of `model` at `where` takes."""
    for part in where:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = nested_model(field.annotation) if field is not None else None
        model = inner or model
    return list(model.model_fields)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = nested_model(inner)
        if found is not None:
            return found
    return None
