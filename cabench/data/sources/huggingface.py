"""A data set in the format of Hugging Face's library `datasets`: a folder, or a name on the hub.

`path` is a folder that `save_to_disk` wrote, a folder that `load_dataset` reads (Parquet files,
ImageFolder), or the name of a data set on the hub. No code of a data set is run.

report is the split `test`, else `validation`; the split `train` is divided by a hash of the row's
number, 90 / 10 %, into generator-train and judge-train. A data set with one split is divided 80 /
10 / 10 %. `held_out: 0.25` takes this share of every class, as in the source `folder`.

Every column of type ClassLabel is a stream of its own name; `label` names the column that is the
stream `label`, which may also hold text or whole numbers. Every column of lists of ClassLabel,
several labels per image, is a stream of numbers: one per label, 1 where the image has it and 0
elsewhere, of the labels that some and not all images of generator-train have. `text` names a
column of captions or of lists of captions, `numbers` columns of numbers or of lists of them, `maps`
columns of images that are maps of the image. Decoded images are cached (data/decoded.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cabench.data.catalogue import Catalogue, Members, opener
from cabench.data.dataset import SPLITS, Dataset
from cabench.data.decoded import Channels, Fit, Pixels, decode, is_upscaled, load
from cabench.data.map_files import map_stream
from cabench.data.metadata import captions, label_names
from cabench.data.sources.folder import (
    LABEL,
    Colour,
    HeldOut,
    Size,
    parts_of,
    split_images,
    stamp,
)
from cabench.data.sources.huggingface_files import (
    SOURCE,
    Parts,
    files_below,
    one_line_errors,
    read_parts,
)
from cabench.data.vectors import LONGEST, as_row, is_vector, standardised
from cabench.errors import DataMissing, listed, near, one_line, shown
from cabench.registry import DATASETS
from cabench.runtime.validation import NAME
from cabench.text.features import STREAM

if TYPE_CHECKING:
    from datasets import Dataset as Table

SINGLE = "image"  # the only class of a data set that has captions and no labels


@DATASETS.register(SOURCE)
def huggingface(
    path: str,
    size: Size,
    config: str | None = None,
    revision: str | None = None,
    image: str | None = None,
    label: str | None = None,
    text: str | None = None,
    numbers: tuple[str, ...] = (),
    maps: tuple[str, ...] = (),
    flip: bool = False,
    channels: Channels = 3,
    fit: Fit = "crop",
    background: Colour = "white",
    held_out: HeldOut | None = None,
) -> Dataset:
    """A data set of the library `datasets`: a saved folder, or a name on the hub."""
    names = (config, revision, image, label, text, numbers, maps)
    return load(catalogue(path, size, *names, flip, channels, fit, background, held_out))


@opener(SOURCE)
def catalogue(
    path: str,
    size: Size,
    config: str | None = None,
    revision: str | None = None,
    image: str | None = None,
    label: str | None = None,
    text: str | None = None,
    numbers: tuple[str, ...] = (),
    maps: tuple[str, ...] = (),
    flip: bool = False,
    channels: Channels = 3,
    fit: Fit = "crop",
    background: Colour = "white",
    held_out: HeldOut | None = None,
) -> Catalogue:
    """The data set's rows; images are decoded one by one."""
    height, width = (size, size) if isinstance(size, int) else size
    pixels = Pixels((channels, height, width), fit, background)
    with one_line_errors(path):
        parts, notes = read_parts(path, config, revision)
        columns = Columns(next(iter(parts.values())), image, label, text, numbers, maps)
        rows = Rows(parts, columns)
    members = split_images(rows.labels[LABEL], parts_of(parts, held_out), held_out is not None)
    if empty := [split for split, names in members.items() if not names]:
        raise DataMissing(
            f"{SOURCE}: too few images in {path}: none for the split '{empty[0]}'; "
            "hold out a part of every class (held_out: 0.25)"
        )
    set_notes = rows.number_sets(members[SPLITS[0]])
    digest = hashlib.sha256()
    for part, table in parts.items():
        digest.update(json.dumps([part, table._fingerprint, columns.facts]).encode())
    if os.path.isdir(path):
        digest.update(stamp(Path(path), [files_below(path)], []).encode())
    digest.update(json.dumps([members["report"], fit, background]).encode())
    splits = {split: rows.members(names) for split, names in members.items()}
    vectors = standardised(SOURCE, {split: part.vectors for split, part in splits.items()})
    splits = {n: dataclasses.replace(part, vectors=vectors[n]) for n, part in splits.items()}
    return Catalogue(
        name=SOURCE,
        licence=parts[next(iter(parts))].info.license or f"see the data set's card: {path}",
        classes=rows.classes,
        flip=flip,
        shape=pixels.shape,
        splits=splits,
        read=lambda split, row: decode(*rows.file(members[split][row]), pixels, SOURCE),
        key=digest.hexdigest(),
        notes=tuple(notes + columns.notes + set_notes),
        problems=tuple(rows.problems),
        upscales=lambda split, row: is_upscaled(rows.file(members[split][row])[0], pixels),
        maps={
            column: map_stream(
                SOURCE,
                rows.file(members["report"][0], column),
                lambda split, row, column=column: rows.pair(members[split][row], column),
                pixels,
            )
            for column in columns.maps
        },
    )


# ---- columns ------------------------------------------------------------------------------------


class Columns:
    """Which columns hold the images, the labels by stream, and the captions."""

    def __init__(
        self,
        table: Table,
        image: str | None,
        label: str | None,
        text: str | None,
        numbers: tuple[str, ...],
        maps: tuple[str, ...],
    ):
        from datasets import ClassLabel, Image

        features = table.features
        names = list(features)
        images = [name for name in names if isinstance(features[name], Image)]
        self.maps = [name for name in maps if chosen("maps", name, names)]
        labels = [name for name in names if isinstance(features[name], ClassLabel)]
        free = [name for name in images if name not in maps]
        self.image = chosen("image", image, names) or only("image", free, names)
        self.label = chosen("label", label, names) or _label_of(labels)
        self.text = chosen("text", text, names) or (STREAM if STREAM in names else None)
        self.numbers = [name for name in numbers if chosen("numbers", name, names)]
        sets = [name for name in names if isinstance(_inner(features[name]), ClassLabel)]
        for option, name in [("image", self.image), *(("maps", name) for name in self.maps)]:
            if name not in images:
                raise DataMissing(
                    f"{SOURCE}: {option}: expected a column of type Image, got '{name}' of type "
                    f"{type(features[name]).__name__}"
                )
        if self.label is None and self.text is None and LABEL in names:  # text or whole numbers
            self.label = LABEL
        taken = {self.label, LABEL, "timestep", STREAM, *self.numbers}
        self.sets = [name for name in sets if name not in taken and re.fullmatch(NAME, name)]
        if self.label is None and self.text is None and not self.sets:
            raise DataMissing(
                f"{SOURCE}: no column of type ClassLabel; name the one that holds the labels "
                f"(`label: COLUMN`) or captions (`text: COLUMN`); columns: {', '.join(names)}"
            )
        others = [name for name in labels if name not in taken and re.fullmatch(NAME, name)]
        self.streams = {name: name for name in others}
        if self.label is not None:
            self.streams[LABEL] = self.label
        used = {self.image, self.text, *self.numbers, *self.maps, *self.streams.values()}
        used |= set(self.sets)
        self.notes = [f"ignored: the column '{name}'" for name in names if name not in used]

    @property
    def facts(self) -> dict[str, Any]:
        """All choices, for the fingerprint; no empty `sets`, so that earlier ones stay the same."""
        return {name: value for name, value in vars(self).items() if name != "sets" or value}


def _inner(feature: Any) -> Any:
    """The type of the items of a column of lists, else None."""
    return getattr(feature, "feature", None)


def chosen(option: str, name: str | None, names: Collection[str]) -> str | None:
    """The column that an option names, if it names one; DataMissing if there is no such column."""
    if name is not None and name not in names:
        raise DataMissing(
            f"{SOURCE}: {option}: no column '{name}'{near(name, names)}; "
            f"columns: {', '.join(names)}"
        )
    return name


def only(option: str, candidates: list[str], names: list[str]) -> str:
    """The only candidate; DataMissing if there are several or none."""
    if len(candidates) != 1:
        number = "several columns" if candidates else "no column"
        raise DataMissing(
            f"{SOURCE}: {number} of type Image; name the one that holds the images "
            f"(`{option}: COLUMN`); columns: {', '.join(names)}"
        )
    return candidates[0]


def _label_of(labels: list[str]) -> str | None:
    """The column `label`, else the only or first column of labels."""
    return LABEL if LABEL in labels else next(iter(labels), None)


# ---- rows ---------------------------------------------------------------------------------------


class Rows:
    """The conditions of all rows; a row's name is 'PART/NUMBER', or 'NUMBER' without parts."""

    def __init__(self, parts: Parts, columns: Columns):
        from datasets import Image

        self.images = {
            (column, part): table.select_columns([column]).cast_column(column, Image(decode=False))
            for column in (columns.image, *columns.maps)
            for part, table in parts.items()
        }
        self.column = columns.image
        self.problems: list[str] = []
        self.labels: dict[str, dict[str, int]] = {}  # stream -> row's name -> class index
        self.classes: dict[str, list[str]] = {}
        for stream, column in columns.streams.items():
            feature = next(iter(parts.values())).features[column]
            self._add(stream, column, getattr(feature, "names", None), values_of(parts, column))
        if LABEL not in self.labels:
            column = next(filter(None, (columns.text, *columns.sets, columns.image)))
            rows = values_of(parts, column)
            self.classes[LABEL], self.labels[LABEL] = [SINGLE], dict.fromkeys(rows, 0)
        self.texts = values_of(parts, columns.text) if columns.text is not None else {}
        self.numbers = {column: values_of(parts, column) for column in columns.numbers}
        self._check(columns.text, self.texts, _is_caption, "a caption or a list of captions")
        for column, values in self.numbers.items():
            lengths = Counter(np.size(value) for value in values.values() if is_vector(value))
            size = lengths.most_common(1)[0][0] if lengths else 1
            expected = "a number" if size == 1 else f"{size} numbers"
            self._check(column, values, partial(_has_size, size), expected)
        self.sets = {column: values_of(parts, column) for column in columns.sets}
        features = next(iter(parts.values())).features
        self.set_names = {column: _inner(features[column]).names for column in columns.sets}
        for column, names in self.set_names.items():
            valid = partial(_are_labels, len(names))
            self._check(column, self.sets[column], valid, f"a list of labels below {len(names)}")

    def number_sets(self, trained: list[str]) -> list[str]:
        """Makes columns of several labels streams of numbers; returns notes on what they became.

        `trained` are the rows over which a number must vary.
        """
        notes = []
        for column, values in self.sets.items() if not self.problems else ():
            lists = [set(values[name]) for name in trained]
            varying = sorted(set().union(*lists) - set.intersection(*lists))
            if not 0 < len(varying) <= LONGEST:
                reason = f"over {LONGEST:,} labels" if varying else "no label that varies"
                notes.append(f"ignored: the column '{column}': {reason}")
                continue
            self.numbers[column] = {
                name: [int(label in labels) for label in varying] for name, labels in values.items()
            }
            order = listed(self.set_names[column][label] for label in varying)
            notes.append(
                f"the column '{column}' has several labels per image: a stream of {len(varying)} "
                f"numbers, in the order {order}"
            )
        return notes

    def _add(
        self, stream: str, column: str, known: list[str] | None, values: dict[str, Any]
    ) -> None:
        """A stream of labels: class indices if the column has class names, else its values."""
        if known is None:
            valid = {name: v for name, v in values.items() if isinstance(v, int | str)}
            classes = label_names(valid.values())
            index = {label: k for k, label in enumerate(classes)}
            labels = {name: index[str(value)] for name, value in valid.items()}
        else:
            classes = known
            allowed = range(len(known))
            labels = {name: value for name, value in values.items() if value in allowed}
        self.classes[stream], self.labels[stream] = classes, labels
        self.problems += [
            one_line(f"{self._row(name)}: {column}: no label: {shown(value)}")
            for name, value in values.items()
            if name not in labels
        ]

    def _check(
        self,
        column: str | None,
        values: dict[str, Any],
        valid: Callable[[Any], bool],
        expected: str,
    ) -> None:
        """Adds a line for each value that is not valid."""
        self.problems += [
            one_line(f"{self._row(name)}: {column}: expected {expected}, got {shown(value)}")
            for name, value in values.items()
            if not valid(value)
        ]

    @staticmethod
    def _row(name: str) -> str:
        """'train, row 17' of 'train/00000017'."""
        part, _, number = name.rpartition("/")
        return f"{part or 'the data set'}, row {int(number)}"

    def members(self, names: list[str]) -> Members:
        """The named rows with their class indices and captions."""
        streams = {
            stream: np.array([labels.get(name, 0) for name in names], np.int64)
            for stream, labels in self.labels.items()
        }
        texts = [self.texts[name] for name in names] if self.texts else []
        if self.problems:
            return Members(names, streams, {})
        numbers = {
            column: np.array([as_row(values[name]) for name in names])
            for column, values in self.numbers.items()
        }
        return Members(names, streams, {STREAM: captions(texts)} if texts else {}, numbers)

    def file(self, name: str, column: str | None = None) -> tuple[BytesIO | Path, str]:
        """The file of an image, or of its map in a column, and the row for messages."""
        part, _, number = name.rpartition("/")
        where = self._row(name) + (f": {column}" if column else "")
        try:
            cell = self.images[column or self.column, part][int(number)][column or self.column]
        except Exception as error:  # of a corrupted Arrow file
            raise DataMissing(
                f"{SOURCE}: {where} cannot be read: {one_line(str(error))}"
            ) from error
        if cell is None:
            raise DataMissing(f"{SOURCE}: {where}: no image")
        return (Path(cell["path"]) if cell["bytes"] is None else BytesIO(cell["bytes"])), where

    def pair(self, name: str, column: str) -> tuple[BytesIO | Path, BytesIO | Path, str]:
        """The files of an image and of its map, and the row for messages."""
        return (self.file(name)[0], *self.file(name, column))


def values_of(parts: Parts, column: str) -> dict[str, Any]:
    """A column's value by the name of the row."""
    return {
        f"{part}/{row:08d}" if part else f"{row:08d}": value
        for part, table in parts.items()
        for row, value in enumerate(table.select_columns([column])[column][:])
    }


def _has_size(size: int, value: Any) -> bool:
    return is_vector(value) and np.size(value) == size


def _are_labels(count: int, value: Any) -> bool:
    return isinstance(value, list) and all(item in range(count) for item in value)


def _is_caption(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(text, str) for text in several)
