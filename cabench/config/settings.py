"""`--set training.lr=1e-3`: values of a scale that the command line replaces.

A scale with settings has a name of its own, so that its results lie in a folder of their own:
`quick+training_lr-0_001`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from cabench.config.scale import Scale
from cabench.config.yaml import SET, Document, plain, value_at, value_of
from cabench.errors import CabenchError, ConfigError, Where, key_path, shown
from cabench.runtime.validation import first_fault, valid_name, validate

REFUSED = {  # first part of a key -> what to use in its place
    "scale": "the name follows from the settings",
    "extends": "write a scale file that extends another",
    "about": "it changes no run",
    "seeds": "use --seeds",
    "extra_arms": "use --all-arms",
}


@dataclass(frozen=True)
class Setting:
    """A value that the command line replaces."""

    where: Where
    value: Any  # as the schema reads it
    before: Any  # the scale's own

    @property
    def key(self) -> str:
        """'training.lr'."""
        return ".".join(map(str, self.where))


def with_settings(
    scale: Scale, document: Document, texts: Sequence[str]
) -> tuple[Scale, Document, tuple[Setting, ...]]:
    """The scale under another name with some of its values replaced: KEY=VALUE each.

    The values are YAML, as in a scale file, and are checked by its schema.
    """
    if not texts:
        return scale, document, ()
    content = plain(document.content, document.name)
    places: list[Where] = []
    for key, value in _split(texts).items():
        places.append(_put(content, key, value))
    changed = _validated(content, places)
    before, after = scale.model_dump(mode="json"), changed.model_dump(mode="json")
    settings = tuple(
        Setting(where, value_at(after, where), value_at(before, where))
        for where in sorted(places, key=key_path)
    )
    document = dataclasses.replace(
        document,
        content=CommentedMap(content),
        layers=document.layers or (document,),
        settings=tuple(places),
    )
    name = name_of(scale.scale, settings)
    return changed.model_copy(update={"scale": name}), document, settings


def name_of(scale: str, settings: Iterable[Setting]) -> str:
    """'quick+sampling_steps-20+training_lr-0_001': the scale's name and its settings, by key.

    Where that is too long or a value has other characters, it ends in a hash of the settings.
    """
    values = [(s.key, s.value) for s in settings]
    return valid_name("+".join([scale, *(f"{key}-{_plain_text(value)}" for key, value in values)]))


def _plain_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- reading ------------------------------------------------------------------------------------


def _split(texts: Iterable[str]) -> dict[str, Any]:
    """Keys and values of texts such as 'training.lr=1e-3'."""
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, written = text.partition("=")
        if not (key and equals):
            how = "expected KEY=VALUE, such as training.lr=1e-3"
            raise CabenchError(f"{SET}: {how}, got {shown(text)}")
        if key in values:
            raise CabenchError(f"{SET} {key}: is given twice")
        if instead := REFUSED.get(key.split(".")[0]):
            raise CabenchError(f"{SET} {key}: cannot be set: {instead}")
        value = value_of(written, f"{SET} {key}", "scale")
        if isinstance(value, Mapping):
            raise CabenchError(f"{SET} {key}: expected a value, got a mapping: set its keys")
        values[key] = value
    return values


def _put(content: Any, key: str, value: Any) -> Where:
    """Set a value in JSON values at a key such as 'data.0.patch'; return its place."""
    *path, last = key.split(".")
    where: list[str | int] = []
    for word in path:
        part = _part(content, word, key, where)
        where.append(part)
        if isinstance(content, dict) and content.get(str(part)) is None:
            content[str(part)] = {}
        content = content[part]
    part = _part(content, last, key, where)
    content[part] = value
    return (*where, part)


def _part(content: Any, word: str, key: str, where: list[str | int]) -> str | int:
    """The word as a key of a mapping, or as an index of a list."""
    if isinstance(content, dict):
        return word
    if not isinstance(content, list):
        raise CabenchError(f"{SET} {key}: '{key_path(tuple(where))}' has no keys")
    if not (word.isascii() and word.isdigit() and int(word[:9]) < len(content)):
        last = len(content) - 1
        raise CabenchError(f"{SET} {key}: expected an index from 0 to {last}, got {shown(word)}")
    return int(word)


def _validated(content: Mapping[str, Any], places: Iterable[Where]) -> Scale:
    """The scale; what is wrong is a setting, since the scale was valid before."""
    try:
        return validate(Scale, content)
    except ValidationError as error:
        where, text = first_fault(error, Scale, content)
        longer = [place for place in places if place[: len(where)] == where]  # it lies above
        raise ConfigError("scale", (), text, f"{SET} {key_path((longer or [where])[0])}") from None
