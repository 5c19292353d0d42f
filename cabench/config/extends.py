"""`extends: quick` in a scale file: the keys of another scale, of which the file replaces some.

Mappings are merged key by key, at every depth. Any other value, a list too, replaces the value
below it as a whole. What a file says about itself (`scale`, `about`) is not passed on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from cabench.config.files import SUFFIXES, elsewhere, is_file, scale_names, scale_path
from cabench.config.yaml import Document, located, plain
from cabench.errors import ConfigError, shown, unknown

KEY = "extends"
OWN = ("scale", "about", KEY)  # a file's own, not passed on


def extended(document: Document) -> Document:
    """The document with the keys of those that it extends; errors name the file of the value."""
    layers = _layers(document)
    if len(layers) == 1:
        return document
    for base in layers[1:]:
        for key in OWN:
            base.content.pop(key, None)
    merged = reduce(merged_over, map(_content, layers))
    return dataclasses.replace(document, content=CommentedMap(merged), layers=tuple(layers))


def merged_over(top: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top`; where both have a mapping, the two merged."""
    both = {
        key: merged_over(value, base[key])
        for key, value in top.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **top, **both}


def _layers(document: Document) -> list[Document]:
    """The document, the one that it extends, and so on."""
    layers = [document]
    while layers[-1].content.get(KEY) is not None:
        with located(layers[-1]):
            path = _base(layers[-1])
            files = [Path(layer.path) for layer in layers]
            if path.resolve() in [file.resolve() for file in files]:
                chain = " -> ".join(str(file) for file in (*files, path))
                raise ConfigError(document.name, (KEY,), f"a file extends itself: {chain}")
        layers.append(Document.read(path, document.name))
    return layers


def _base(document: Document) -> Path:
    """The file that a document extends: a shipped scale, or a path relative to the document."""
    name = document.content[KEY]

    def wrong(text: str) -> ConfigError:
        return ConfigError(document.name, (KEY,), text)

    if not isinstance(name, str):
        raise wrong(f"expected the name of a scale or a YAML file, got {shown(name)}")
    if name in scale_names():
        return scale_path(name)
    if not name.endswith(SUFFIXES):
        raise wrong(f"{unknown('scale', name, scale_names())}, or a YAML file")
    path = Path(document.path).parent / name
    if not is_file(path):
        raise wrong(f"no scale file {elsewhere(path)}")
    return path


def _content(layer: Document) -> dict[str, Any]:
    with located(layer):
        return plain(layer.content, layer.name)
