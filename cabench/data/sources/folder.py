"""A folder of images with one subfolder per class, in any image format that Pillow reads.

`<path>/<class>/.../<image>`: an image's split follows from a hash of its relative path, 80 / 10 /
10 % on average, so adding images moves none of the others.
`<path>/train/<class>/...` and `<path>/test/<class>/...` (or `val`, as in ImageNet): report is the
test set; the training set is split by the same hash, 90 / 10 %, into generator-train and
judge-train.
`held_out: 0.25` takes this share of every class for judge-train, and for report unless there is a
test set: exact up to rounding, as small data sets need, while adding images may move others.

`metadata.jsonl` (data/metadata.py) adds captions, labels and maps; its key `label` replaces the
folders as classes. Decoded images are in the cache (data/decoded.py). To train on a million
images, encode them once as latents (`cabench data encode folder -o path=DIR --vae DIR --out DIR`),
which holds only a few images in memory at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import ImageColor
from pydantic import AfterValidator, Field

from cabench.data.catalogue import Catalogue, Members, opener
from cabench.data.dataset import SPLITS, Dataset, Vectors
from cabench.data.decoded import Channels, Fit, Pixels, decode, is_upscaled, load
from cabench.data.listing import SYNSETS, Ignored, listing, summary
from cabench.data.map_files import map_stream
from cabench.data.metadata import captions, is_numeric, label_names, mismatches, read_columns
from cabench.data.vectors import as_row, standardised
from cabench.errors import DataMissing, one_line, shown
from cabench.registry import DATASETS
from cabench.text.features import STREAM

LABEL = "label"
TESTS = ("test", "val")
LEVELS = {"first": 0, "leaf": -1}  # the class among the folders of an image's path
TOP, NO_PART = "in the top directory", "in neither train nor test"


def _colour(name: str) -> str:
    try:
        ImageColor.getrgb(name)
    except ValueError:
        raise ValueError("expected a colour such as white, black or '#ff8800'") from None
    return name


Side = Annotated[int, Field(ge=1, le=4096)]  # pixels
Size = Side | tuple[Side, Side]  # of a square, or height and width
Level = Literal["first", "leaf"]
Colour = Annotated[str, AfterValidator(_colour)]
HeldOut = Annotated[float, Field(gt=0, lt=0.5)]


@DATASETS.register("folder")
def folder(
    path: str,
    size: Size,
    flip: bool = False,
    channels: Channels = 3,
    classes: Level = "first",
    fit: Fit = "crop",
    background: Colour = "white",
    held_out: HeldOut | None = None,
) -> Dataset:
    """Your own images, or ImageNet: path/class/image, or path/{train,test|val}/class/image."""
    return load(catalogue(path, size, flip, channels, classes, fit, background, held_out))


@opener("folder")
def catalogue(
    path: str,
    size: Size,
    flip: bool = False,
    channels: Channels = 3,
    classes: Level = "first",
    fit: Fit = "crop",
    background: Colour = "white",
    held_out: HeldOut | None = None,
) -> Catalogue:
    """The folder's images, listed by path."""
    root = Path(path)
    height, width = (size, size) if isinstance(size, int) else size
    pixels = Pixels((channels, height, width), fit, background)
    try:
        contents = find_images(root, classes, held_out)
        options = [classes, held_out, fit, background]
        maps = [sorted(set(paths.values())) for _, paths in sorted(contents.maps.items())]
        key = stamp(root, [*contents.members.values(), contents.metadata, *maps], options)
    except OSError as error:  # no permission, or a name that is too long
        raise DataMissing(f"folder: can't read {root}: {error.strerror}") from error
    names = {stream: label_names(labels.values()) for stream, labels in contents.labels.items()}
    vectors = standardised("folder", vectors_of(contents.members, contents.numbers))
    return Catalogue(
        name="folder",
        licence="that of the pictures in the folder",
        classes=names | {LABEL: display_names(root, names[LABEL])},
        flip=flip,
        shape=pixels.shape,
        splits={
            name: dataclasses.replace(_members(contents, names, images), vectors=vectors[name])
            for name, images in contents.members.items()
        },
        read=partial(read_image, "folder", root, contents.members, pixels),
        key=key,
        notes=tuple(contents.notes),
        problems=tuple(contents.problems),
        upscales=lambda split, row: is_upscaled(root / contents.members[split][row], pixels),
        maps={
            stream: map_stream(
                "folder",
                (root / (first := min(paths.values())), str(root / first)),
                partial(map_file, root, contents.members, paths),
                pixels,
            )
            for stream, paths in contents.maps.items()
        },
    )


def _members(contents: Images, names: dict[str, list[str]], images: list[str]) -> Members:
    """The images of a split with their class indices and captions."""
    index = {stream: {name: k for k, name in enumerate(names[stream])} for stream in names}
    streams = {
        stream: np.array([index[stream][str(labels[image])] for image in images], np.int64)
        for stream, labels in contents.labels.items()
    }
    texts = (
        {STREAM: captions([contents.texts[image] for image in images])} if contents.texts else {}
    )
    return Members(images, streams, texts)


def vectors_of(
    members: Mapping[str, list[str]], numbers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Vectors]:
    """Each split's streams of numbers, (N, D), as they are in the metadata."""
    return {
        split: {
            stream: np.array([as_row(values[image]) for image in images])
            for stream, values in numbers.items()
        }
        for split, images in members.items()
    }


def read_image(
    source: str, root: Path, members: dict[str, list[str]], pixels: Pixels, split: str, row: int
) -> np.ndarray:
    """(C, H, W) uint8: image `row` of a split, given each split's paths relative to `root`."""
    path = root / members[split][row]
    return decode(path, str(path), pixels, source)


def map_file(
    root: Path, members: dict[str, list[str]], paths: Mapping[str, str], split: str, row: int
) -> tuple[Path, Path, str]:
    """Image `row` of a split, its map, and the map's name, given paths relative to `root`."""
    image = members[split][row]
    if image not in paths:
        raise DataMissing(f"folder: {root / image}: its map is missing")
    return root / image, root / paths[image], str(root / paths[image])


def display_names(root: Path, classes: list[str]) -> list[str]:
    """The classes' names: the first synonym in `LOC_synset_mapping.txt`, else the folder's name.

    A line of that file reads 'n01440764 tench, Tinca tinca'.
    """
    path = root / SYNSETS
    if not path.is_file():
        return classes
    text = path.read_text("utf-8", errors="replace")
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    names = {words[0]: words[1].split(",")[0].strip() for words in lines if len(words) == 2}
    return [names.get(name, name) for name in classes]


# ---- images and their conditions ----------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """The images of a folder and their conditions; images are paths relative to the folder."""

    # fmt: off
    members: dict[str, list[str]]                   # split -> images
    labels: dict[str, Mapping[str, str | int]]      # stream -> image -> label
    numbers: Mapping[str, Mapping[str, Any]]        # stream -> image -> a number or several
    texts: Mapping[str, Any]                        # image -> caption or captions; may be empty
    maps: Mapping[str, Mapping[str, str]]           # stream -> image -> path of its map
    metadata: list[str]                             # files
    notes: list[str]                                # what was left out, and why
    problems: list[str]                             # one line each
    # fmt: on


def find_images(root: Path, level: Level = "first", held_out: float | None = None) -> Images:
    """The images below `root`; DataMissing if none has a class or a split stays empty."""
    if not root.is_dir():
        raise _no_classes(root, "a file" if root.exists() else "no such folder")
    below = listing(str(root))
    columns = read_columns(str(root), below.metadata)
    images = [image for image in below.images if image not in columns.only_maps]
    folders = without_maps(below.folders, images, columns.only_maps)
    parts = parts_of(folders, held_out)
    names = folder_names(images, parts, level)
    own = columns.values.get(LABEL)
    if own is not None and is_numeric(own.values()):
        raise DataMissing(
            f"folder: {below.metadata[0]}: {LABEL}: expected text or whole numbers, got "
            f"{shown(next(iter(own.values())))}; numbers need a stream of another name"
        )
    used = {image: name for image, name in names.items() if name or own is not None}
    notes = [summary(below.ignored + _left_out(images, names, used)), *columns.notes]
    problems = [*below.problems, *columns.problems]
    if own is None and level == "first":
        problems += empty_classes(root, folders, used, parts)
    problems += mismatches(columns, used, below.images)
    labels = {
        image: own[image] if own is not None else name
        for image, name in used.items()
        if not columns.absent(image)
    }
    notes = [line for line in notes if line]
    if not labels:
        raise DataMissing(f"folder: {problems[0]}") if problems else _no_classes(root, *notes)
    members = split_images(labels, parts, exact=held_out is not None)
    if empty := [split for split, images in members.items() if not images]:
        raise DataMissing(
            f"folder: too few images in {root}: none for the split '{empty[0]}'; add images, or "
            f"hold out a part of every class (held_out: 0.25)"
            f"{'; '.join(['', *problems[:1], *notes])}"
        )
    others = {k: v for k, v in columns.values.items() if k not in (LABEL, STREAM)}
    numbers = {k: v for k, v in others.items() if is_numeric(v.values())}
    return Images(
        members=members,
        labels={LABEL: labels, **{k: v for k, v in others.items() if k not in numbers}},
        numbers=numbers,
        texts=columns.values.get(STREAM, {}),
        maps=existing(columns.maps, below.images),
        metadata=below.metadata,
        notes=notes,
        problems=problems,
    )


def _no_classes(root: Path, *actual: str) -> DataMissing:
    return DataMissing(
        f"folder: expected {root}/<class>/<image> or {root}/{{train,test}}/<class>/<image>, "
        f"got {'; '.join(actual) or 'no subfolder'}; name the folder that holds the classes "
        "(`path: DIR`)"
    )


Parts = dict[str, tuple[float, float, float]]  # folder of a part, or "" -> its shares of SPLITS


def parts_of(folders: Iterable[str], held_out: float | None = None) -> Parts:
    """The parts of a data set, given all its folders: train and test (or val), or one part ""."""
    names = set(folders)
    test = next((name for name in TESTS if {name, "train"} <= names), None)
    share = 0.1 if held_out is None else held_out
    if test is None:
        return {"": (1 - 2 * share, share, share)}
    return {"train": (1 - share, share, 0.0), test: (0.0, 0.0, 1.0)}


def existing(
    maps: Mapping[str, Mapping[str, str]], files: Iterable[str]
) -> dict[str, Mapping[str, str]]:
    """The maps that are among the files; `mismatches` names the others."""
    known = set(files)
    files_of = {
        stream: {image: path for image, path in paths.items() if path in known}
        for stream, paths in maps.items()
    }
    return {stream: paths for stream, paths in files_of.items() if paths}


def without_maps(folders: Iterable[str], images: Iterable[str], maps: Iterable[str]) -> list[str]:
    """The folders without those that hold maps alone."""
    with_images, with_maps = (
        {path[:i] for path in paths for i, letter in enumerate(path) if letter == "/"}
        for paths in (images, maps)
    )
    return [folder for folder in folders if folder in with_images or folder not in with_maps]


def folder_names(images: Iterable[str], parts: Parts, level: Level) -> dict[str, str]:
    """image -> the folder that is its class, "" for none; without images that are in no part."""
    depth = 0 if "" in parts else 1
    names = {}
    for image in images:
        folders = image.split("/")[:-1]
        if depth == 0 or (folders and folders[0] in parts):
            inside = folders[depth:]
            names[image] = inside[LEVELS[level]] if inside else ""
    return names


def _left_out(images: list[str], names: Mapping[str, str], used: Mapping[str, str]) -> Ignored:
    """How many images are not used, by reason."""
    counts = {(NO_PART, ""): len(images) - len(names), (TOP, ""): len(names) - len(used)}
    return Counter({reason: count for reason, count in counts.items() if count})


def empty_classes(
    root: Path, folders: Iterable[str], names: Mapping[str, str], parts: Parts
) -> list[str]:
    """A line for each part of a class's folder without images."""
    depth = 0 if "" in parts else 1
    split = [folder.split("/") for folder in folders]
    classes = {f[-1] for f in split if len(f) == depth + 1 and (not depth or f[0] in parts)}
    full = {(image.split("/")[0] if depth else "", name) for image, name in names.items()}
    return [
        one_line(f"no images in {root / part / name}")
        for part in parts
        for name in sorted(classes)
        if (part, name) not in full
    ]


def split_images(
    labels: Mapping[str, str | int], parts: Parts, exact: bool = False
) -> dict[str, list[str]]:
    """The images of each split, by a hash of their paths.

    The first images of a split are a random sample of its classes. `exact`: a part's shares hold
    in every class, rounded to whole images.
    """
    groups: dict[tuple[str, str | int], list[tuple[float, str]]] = {}  # part, class -> draws
    for image, label in labels.items():
        part = "" if "" in parts else image.split("/")[0]
        groups.setdefault((part, label), []).append((uniform(image), image))
    members: dict[str, list[tuple[float, str]]] = {name: [] for name in SPLITS}
    for (part, _), draws in groups.items():
        draws.sort()
        shares = parts[part]
        splits = (
            exact_splits(len(draws), shares)
            if exact
            else [split_of(draw, shares) for draw, _ in draws]
        )
        for split, entry in zip(splits, draws, strict=True):
            members[split].append(entry)
    return {name: [image for _, image in sorted(draws)] for name, draws in members.items()}


def uniform(name: str) -> float:
    """A number in [0, 1) from the hash of `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(draw: float, shares: tuple[float, ...]) -> str:
    """The split of a uniform draw, given the shares of SPLITS."""
    for name, end in zip(SPLITS, np.cumsum(shares)[:-1], strict=False):
        if draw < end:
            return name
    return SPLITS[-1]


def exact_splits(count: int, shares: tuple[float, ...]) -> list[str]:
    """The split of each of `count` images, in order; the first split takes what rounding leaves."""
    first, *others = SPLITS
    held_out = [
        name
        for name, share in zip(others, shares[1:], strict=True)
        for _ in range(round(share * count))
    ]
    return [first] * (count - len(held_out)) + held_out


def stamp(root: Path, files: Iterable[Iterable[str]], options: list[Any]) -> str:
    """sha256 of all files' relative paths, lengths and modification times, and of options."""
    digest = hashlib.sha256(json.dumps(options).encode())
    for group in files:
        for file in group:
            stat = os.stat(f"{root}/{file}")
            digest.update(json.dumps([file, stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()
