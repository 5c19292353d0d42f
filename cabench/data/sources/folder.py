"""A folder of pictures, one subfolder a class: anything that Pillow reads.

`<path>/<class>/<picture>`: each picture's split follows from a hash of its relative path, 80 / 10 /
10 % on average, so that adding pictures moves none of the others.
`<path>/train/<class>/...` and `<path>/test/<class>/...` (or `val`, as ImageNet has it): report is
the test set; the training set is cut in the same way, 90 / 10 %, into generator-train and
judge-train.

The shorter side is resized to `size`, the longer one cropped about its centre. Decoded pictures are
kept in .cabench/data/ (decoded.py). A million pictures are better encoded once: `cabench data
encode folder -o path=DIR --vae DIR --out DIR`, which holds no more than a few at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from cabench.data.catalogue import Catalogue, Members, lists
from cabench.data.dataset import SPLITS, Dataset
from cabench.data.decoded import decode, load
from cabench.errors import DataMissing
from cabench.registry import DATASETS

Side = Annotated[int, Field(ge=1, le=4096)]  # pixels
TESTS = ("test", "val")
SYNSETS = "LOC_synset_mapping.txt"  # as ImageNet's archive on Kaggle has it


@DATASETS.register("folder")
def folder(path: str, size: Side, flip: bool = False, channels: Literal[1, 3] = 3) -> Dataset:
    """Your pictures, or ImageNet: path/class/picture, or path/{train,test|val}/class/picture."""
    return load(listing(path, size, flip, channels))


@lists("folder")
def listing(path: str, size: Side, flip: bool = False, channels: Literal[1, 3] = 3) -> Catalogue:
    """The folder's pictures by path."""
    root, shape = Path(path), (channels, size, size)
    try:
        classes, members = find_pictures(root)
        key = stamp(root, members)
    except OSError as error:  # a folder without permission, a name too long
        raise DataMissing(f"folder: can't read {root}: {error.strerror}") from error
    number = {name: k for k, name in enumerate(classes)}
    return Catalogue(
        name="folder",
        licence="that of the pictures in the folder",
        classes={"label": spoken(root, classes)},
        flip=flip,
        shape=shape,
        splits={
            name: Members(
                pictures,
                {"label": np.array([number[p.split("/")[-2]] for p in pictures], np.int64)},
                {},
            )
            for name, pictures in members.items()
        },
        read=partial(_read, root, members, shape),
        key=key,
    )


def spoken(root: Path, classes: list[str]) -> list[str]:
    """Names for the folders' names: of ImageNet's ids those in `LOC_synset_mapping.txt`, if it
    lies in the folder ('n01440764 tench, Tinca tinca' a line); the first word of each.
    """
    path = root / SYNSETS
    if not path.is_file():
        return classes
    lines = (line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines())
    told = {words[0]: words[1].split(",")[0].strip() for words in lines if len(words) == 2}
    return [told.get(name, name) for name in classes]


def _read(
    root: Path, members: dict[str, list[str]], shape: tuple[int, int, int], split: str, row: int
) -> np.ndarray:
    return decode(root / members[split][row], shape, "folder")


def find_pictures(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Class names in order, and each split's pictures by their path relative to `root`."""
    test = next((t for t in TESTS if (root / t).is_dir() and (root / "train").is_dir()), None)
    parts = ("train/", f"{test}/") if test else ("",)
    classes = sorted({name for part in parts for name in _folders(root / part)})
    if not classes:
        found = "no subfolder" if root.is_dir() else "a file" if root.exists() else "no such folder"
        raise DataMissing(
            f"folder: looked for {root}/<class>/<picture> or {root}/{{train,test}}/<class>/"
            f"<picture>, found {found}; name the folder that holds the classes (`path: DIR`)"
        )
    members: dict[str, list[tuple[float, str]]] = {name: [] for name in SPLITS}
    kinds = frozenset(Image.registered_extensions())
    whole, training, testing = (0.8, 0.1, 0.1), (0.9, 0.1, 0.0), (0.0, 0.0, 1.0)
    for part in parts:
        shares = {"": whole, "train/": training}.get(part, testing)
        for label in classes:
            pictures = _pictures(root / part / label, kinds)
            if not pictures:
                place = root / part / label
                raise DataMissing(f"folder: looked for pictures in {place}, found none")
            for picture in pictures:
                picture = f"{part}{label}/{picture}"
                draw = draw_of(picture)
                members[split_of(draw, shares)].append((draw, picture))
    for name, pictures in members.items():
        if not pictures:
            raise DataMissing(f"folder: {root} holds too few pictures, none falls to '{name}'")
        pictures.sort()  # no class after the other: a split's first pictures are a fair sample
    return classes, {name: [p for _, p in pictures] for name, pictures in members.items()}


def draw_of(picture: str) -> float:
    """In [0, 1), from the hash of a picture's relative path alone."""
    return int.from_bytes(hashlib.sha256(picture.encode()).digest()[:8], "big") / 2**64


def split_of(draw: float, shares: tuple[float, ...]) -> str:
    """The split of one picture."""
    for name, end in zip(SPLITS, np.cumsum(shares)[:-1], strict=False):
        if draw < end:
            return name
    return SPLITS[-1]


def stamp(root: Path, members: dict[str, list[str]]) -> str:
    """A sha256 that changes with any file's relative path, length or time of change."""
    digest = hashlib.sha256()
    for pictures in members.values():
        for picture in pictures:
            stat = os.stat(f"{root}/{picture}")
            digest.update(json.dumps([picture, stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()


def _pictures(place: Path, kinds: frozenset[str]) -> list[str]:
    """Names of the pictures in a folder, in order; a million of them as text, not as paths."""
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return sorted(e.name for e in entries if os.path.splitext(e.name)[1].lower() in kinds)


def _folders(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
