"""YAML files as checked models: a fault names file, line, key, what was found, what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from cabench.errors import CabenchError
from cabench.registry import near

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, what: str) -> CommentedMap:
    """The mapping in `path`, with line numbers; YAML 1.2, no tags that build objects."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CabenchError(f"{path}: not a {what}: the file isn't UTF-8 text") from None
    except OSError as error:
        raise CabenchError(f"{path}: can't read this {what}: {error.strerror}") from None
    return parse_yaml(text, path, what)


def parse_yaml(text: str, path: Path, what: str) -> CommentedMap:
    """The mapping in `text`; `path` is only named in faults."""
    try:
        content = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        problem = (error.problem or str(error)).splitlines()[0]
        raise CabenchError(f"{path}{where}: not valid YAML: {problem}") from None
    except RecursionError:
        raise CabenchError(f"{path}: not valid YAML: nested too deeply") from None
    except (YAMLError, ValueError) as error:
        raise CabenchError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, CommentedMap):
        raise CabenchError(f"{path}:1: a {what} is a mapping of keys to values")
    return content


def line_of(content: Any, where: tuple[Any, ...]) -> int:
    """The line (from 1) on which the deepest known part of `where` stands."""
    line = 1
    for part in where:
        if isinstance(content, CommentedMap) and part in content:
            line = content.lc.key(part)[0] + 1
        elif isinstance(content, CommentedSeq) and isinstance(part, int) and part < len(content):
            line = content.lc.item(part)[0] + 1
        else:
            break
        content = content[part]
    return line


def fault(path: Path, content: Any, where: tuple[Any, ...], text: str) -> CabenchError:
    key = ".".join(str(p) for p in where)
    return CabenchError(f"{path}:{line_of(content, where)}: {key + ': ' if key else ''}{text}")


def check(model: type[Model], path: Path, content: CommentedMap) -> Model:
    """`content` as a `model`; the first fault as one line."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        where, text = first_fault(error, model)
        raise fault(path, content, where, text) from None


def first_fault(error: ValidationError, model: type[BaseModel]) -> tuple[tuple[Any, ...], str]:
    """Where the most telling of pydantic's errors is, and one clause about it.

    An unknown key comes first (a missing one is often the same slip), then the deepest place (of a
    union's branches, the one that fitted furthest).
    """
    telling = min(
        error.errors(),
        key=lambda e: (
            e["type"] != "extra_forbidden", -len(e["loc"]), e["type"] == "literal_error"
        ),  # fmt: skip
    )
    # pydantic names a union's branches in the path, such as list[str]: those are no keys
    where = tuple(p for p in telling["loc"] if not (isinstance(p, str) and "[" in p))
    return where, describe(telling, model)


def describe(error: Any, model: type[BaseModel]) -> str:
    """One clause for one of pydantic's errors, with what was found and the near match."""
    found = error.get("input")
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        allowed = allowed_keys(model, error["loc"][:-1])
        return f"unknown key{near(key, allowed)}; allowed: {', '.join(allowed)}"
    if error["type"] == "missing":
        return "this key is missing"
    text = error["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    if isinstance(found, str | int | float | bool) or found is None:
        text += f"; found {found!r}"
        if isinstance(found, str) and "expected" in error.get("ctx", {}):
            text += near(found, re.findall(r"'([^']+)'", error["ctx"]["expected"]))
    return text


def allowed_keys(model: type[BaseModel], where: tuple[Any, ...]) -> list[str]:
    """The keys that the part of `model` at `where` takes."""
    for part in where:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        inner = nested_model(field.annotation)
        if inner is not None:
            model = inner
    return list(model.model_fields)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = nested_model(inner)
        if found is not None:
            return found
    return None
