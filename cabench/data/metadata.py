"""metadata.jsonl: captions and labels of images, by the convention of Hugging Face's ImageFolder.

A line is a JSON object. `file_name` is an image's path relative to the file's folder. The key
`text` holds a caption or a list of captions. Of the other keys, one whose values are all text or
whole numbers is a label; one whose values are all numbers, or all lists of as many numbers, is a
stream of numbers. Lists of labels, several an image, are one, too: a number per label, 1 where the
image has it and 0 elsewhere. A key such as `edges_file_name` names a map of each image, relative to
the same folder: the stream `edges`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cabench.data.listing import METADATA
from cabench.data.vectors import as_row, is_vector
from cabench.errors import cut, listed, one_line, shown
from cabench.runtime.files import is_special
from cabench.runtime.validation import NAME
from cabench.text.features import STREAM

FILE_NAME = "file_name"
OF_MAP = "_file_name"  # the end of a key that names maps
LABEL = "label"
RESERVED = ("timestep",)  # streams that every model has
MOST_LABELS = 512  # of a multi-label stream; longer ones are ids or places rather than labels


@dataclass(frozen=True)
class Columns:
    """What all metadata files below a folder say; images are paths relative to the folder."""

    # fmt: off
    values: dict[str, dict[str, Any]]    # key -> image -> a caption, captions, a label, numbers
    maps: dict[str, dict[str, str]]      # stream -> image -> the path of its map
    places: dict[str, str]               # image -> 'FILE:LINE' of its row
    notes: list[str]                     # keys that are ignored, and why
    problems: list[str]                  # of rows; one line each
    # fmt: on

    def absent(self, image: str) -> list[str]:
        """The keys that have no value for an image."""
        columns = self.values | {f"{name}{OF_MAP}": paths for name, paths in self.maps.items()}
        return [key for key, column in columns.items() if image not in column]

    @property
    def only_maps(self) -> set[str]:
        """The files that are maps and no image of a row."""
        return {path for paths in self.maps.values() for path in paths.values()} - set(self.places)


def read_columns(top: str, files: Sequence[str]) -> Columns:
    """What `files` say, paths relative to `top`."""
    values: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for file in files:
        for place, row in _rows(f"{top}/{file}", problems):
            image = _beside(file, row[FILE_NAME])
            if image in places:
                text = f"{shown(row[FILE_NAME])} is listed before, at {places[image]}"
                problems.append(f"{place}: {FILE_NAME}: {text}")
                continue
            places[image] = place
            for key, value in row.items():
                if key != FILE_NAME and value is not None:
                    named = key.endswith(OF_MAP) and isinstance(value, str)
                    values.setdefault(key, {})[image] = _beside(file, value) if named else value
    sets = {
        key: column
        for key, column in values.items()
        if key not in (STREAM, LABEL)
        and not key.endswith(OF_MAP)
        and are_label_sets(column.values())
    }
    many = {key: n for key, column in sets.items() if (n := len(set_names(column))) > MOST_LABELS}
    sets = {key: column for key, column in sets.items() if key not in many}
    values |= {key: multi_hot(column) for key, column in sets.items()}
    reasons = {
        key: unusable_maps(key, column.values(), values)
        if key.endswith(OF_MAP)
        else unusable(key, column.values())
        for key, column in values.items()
    }
    reasons |= {
        key: f"its lists have {n:,} different labels, more than {MOST_LABELS}"
        for key, n in many.items()
    }
    usable = {key: column for key, column in values.items() if not reasons[key]}
    return Columns(
        values={key: column for key, column in usable.items() if not key.endswith(OF_MAP)},
        maps={
            key.removesuffix(OF_MAP): column
            for key, column in usable.items()
            if key.endswith(OF_MAP)
        },
        places=places,
        notes=[
            f"{METADATA}: the key {shown(key)} is ignored: {reason}"
            for key, reason in reasons.items()
            if reason
        ]
        + [
            f"{METADATA}: the key {shown(key)} has several labels per image: a stream of "
            f"{len(names := set_names(column))} numbers, in the order {listed(names)}"
            for key, column in sets.items()
            if not reasons[key]
        ],
        problems=list(map(one_line, problems)),
    )


def _beside(file: str, name: str) -> str:
    """A path that a metadata file names, relative to the top folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), name))


def _rows(path: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """('FILE:LINE', row) of each valid row; the others are added to `problems`."""
    if is_special(Path(path)):  # opening a pipe could block
        problems.append(f"{path}: cannot be read: it is not a regular file")
        return
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line) if line.strip() else None
                except (ValueError, RecursionError) as error:
                    problems.append(f"{path}:{number}: not JSON: {cut(str(error), 100)}")
                    continue
                if isinstance(row, dict) and isinstance(row.get(FILE_NAME), str):
                    yield f"{path}:{number}", row
                elif row is not None:
                    text = f"expected an object with the key '{FILE_NAME}', got {shown(row)}"
                    problems.append(f"{path}:{number}: {text}")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        problems.append(f"{path}: cannot be read: {reason}")


def unusable(key: str, values: Iterable[Any]) -> str:
    """Why a key is neither a label nor the text, or ''."""
    values = list(values)
    if key in RESERVED:
        return "every model has a stream of this name"
    if not re.fullmatch(NAME, key):
        return "expected a name of a-z 0-9 _ + - . that begins with a letter or digit"
    if key not in KINDS and is_numeric(values):
        columns = enumerate(zip(*map(as_row, values), strict=True), 1)
        constant = [k for k, column in columns if len(set(column)) == 1]
        return f"number {constant[0]} of it is the same for all images" if constant else ""
    is_valid, expected = KINDS.get(key, (_is_label, LABELS))
    wrong = [value for value in values if not is_valid(value)]
    if wrong and key == LABEL and are_label_sets(values):
        return "several labels per image need a key of another name, such as 'labels'"
    return f"expected {expected}, got {shown(wrong[0])}" if wrong else ""


def unusable_maps(key: str, values: Iterable[Any], keys: Iterable[str]) -> str:
    """Why a key that ends in OF_MAP names no stream of maps, or ''."""
    stream = key.removesuffix(OF_MAP)
    if stream in (*keys, *RESERVED, *KINDS, LABEL):
        return f"there is another stream '{stream}'"
    if not re.fullmatch(NAME, stream):
        return f"expected a name of a-z 0-9 _ + - . before {OF_MAP}"
    wrong = [value for value in values if not isinstance(value, str)]
    return f"expected the name of a file, got {shown(wrong[0])}" if wrong else ""


def is_numeric(values: Iterable[Any]) -> bool:
    """Whether values are vectors of one length and not all of them whole numbers, as labels are."""
    values = list(values)
    lengths = {len(value) if isinstance(value, list) else 0 for value in values}
    return all(map(is_vector, values)) and len(lengths) == 1 and not all(map(_is_label, values))


def are_label_sets(values: Iterable[Any]) -> bool:
    """Whether values are lists of text or whole numbers, some of them text or not of one length."""
    values = list(values)
    if not all(isinstance(value, list) and all(map(_is_label, value)) for value in values):
        return False
    return any(values) and not is_numeric(values)


def set_names(column: Mapping[str, list[str | int]]) -> list[str]:
    """The distinct labels that not all lists have, as `label_names` orders them."""
    lists = list(map(set, column.values()))
    return label_names(set().union(*lists) - set.intersection(*lists))


def multi_hot(column: Mapping[str, list[str | int]]) -> dict[str, list[int]]:
    """Each image's labels as a number per label of `set_names`: 1 where it has it, else 0."""
    names = set_names(column)
    return {
        image: [int(name in chosen) for name in names]
        for image, labels in column.items()
        for chosen in [set(map(str, labels))]
    }


def _is_label(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_caption(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(text, str) for text in several)


LABELS = "text or whole numbers, or lists of them, or numbers or lists of as many numbers"
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    STREAM: (_is_caption, "a caption or a list of captions"),
}


def mismatches(columns: Columns, used: Iterable[str], known: Iterable[str]) -> list[str]:
    """A line for each used image that lacks a row or a key, and for each row of no known image."""
    lines, images = [], set(known)
    for name, paths in columns.maps.items():
        for image, path in paths.items():
            if path not in images:
                lines.append(f"{columns.places[image]}: {name}{OF_MAP}: no such image: {path}")
    for image in used:
        absent = columns.absent(image)
        if absent and image not in columns.places:
            lines.append(f"{image}: no row of {METADATA} names this image")
        elif absent:
            lines.append(f"{columns.places[image]}: the key '{absent[0]}' is missing")
    for image, place in columns.places.items():
        if image not in images:
            lines.append(f"{place}: {FILE_NAME}: no such image: {image}")
    return [one_line(line) for line in lines]


def label_names(values: Iterable[str | int]) -> list[str]:
    """The distinct labels as class names, whole numbers by size, others by alphabet."""
    distinct = set(values)
    if all(isinstance(value, int) for value in distinct):
        return [str(value) for value in sorted(distinct, key=int)]
    return sorted(set(map(str, distinct)))


def captions(values: Sequence[Any]) -> list[str] | list[list[str]]:
    """One caption per image, or a list for each if any has several; spaces are single."""
    several = [value if isinstance(value, list) else [value] for value in values]
    tidy = [[" ".join(text.split()) for text in texts] for texts in several]
    return tidy if any(len(texts) > 1 for texts in tidy) else [text for (text,) in tidy]
