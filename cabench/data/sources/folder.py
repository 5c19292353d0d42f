"""A folder of images with one subfolder per class, in any format that Pillow reads.

`<path>/<class>/<image>`: an image's split follows from a hash of its relative path, 80 / 10 / 10 %
on average, so adding images moves none of the others.
`<path>/train/<class>/...` and `<path>/test/<class>/...` (or `val`, as in ImageNet): report is the
test set; the training set is split by the same hash, 90 / 10 %, into generator-train and
judge-train.

The shorter side is resized to `size`, the longer one cropped about the centre. Decoded images are
cached in .cabench/data/ (data/decoded.py). To train on a million images, encode them once as
latents (`cabench data encode folder -o path=DIR --vae DIR --out DIR`), which holds only a few
images in memory at a time.
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

from cabench.data.catalogue import Catalogue, Members, opener
from cabench.data.dataset import SPLITS, Dataset, Shape
from cabench.data.decoded import decode, load
from cabench.errors import DataMissing
from cabench.registry import DATASETS

Side = Annotated[int, Field(ge=1, le=4096)]  # pixels
TESTS = ("test", "val")
SYNSETS = "LOC_synset_mapping.txt"  # class names, in ImageNet's archive on Kaggle
ALL, TRAIN, TEST = (0.8, 0.1, 0.1), (0.9, 0.1, 0.0), (0.0, 0.0, 1.0)  # shares of SPLITS


@DATASETS.register("folder")
def folder(path: str, size: Side, flip: bool = False, channels: Literal[1, 3] = 3) -> Dataset:
    """Your own images, or ImageNet: path/class/image, or path/{train,test|val}/class/image."""
    return load(catalogue(path, size, flip, channels))


@opener("folder")
def catalogue(path: str, size: Side, flip: bool = False, channels: Literal[1, 3] = 3) -> Catalogue:
    """The folder's images, listed by path."""
    root, shape = Path(path), (channels, size, size)
    try:
        classes, members = find_images(root)
        key = stamp(root, members)
    except OSError as error:  # no permission, or a name that is too long
        raise DataMissing(f"folder: can't read {root}: {error.strerror}") from error
    number = {name: k for k, name in enumerate(classes)}
    return Catalogue(
        name="folder",
        licence="that of the pictures in the folder",
        classes={"label": display_names(root, classes)},
        flip=flip,
        shape=shape,
        splits={
            name: Members(
                images,
                {"label": np.array([number[image.split("/")[-2]] for image in images], np.int64)},
                {},
            )
            for name, images in members.items()
        },
        read=partial(read_image, "folder", root, members, shape),
        key=key,
    )


def read_image(
    source: str, root: Path, members: dict[str, list[str]], shape: Shape, split: str, row: int
) -> np.ndarray:
    """(C, H, W) uint8: image `row` of a split, given each split's paths relative to `root`."""
    return decode(root / members[split][row], shape, source)


def display_names(root: Path, classes: list[str]) -> list[str]:
    """The classes' names: the first synonym in `LOC_synset_mapping.txt`, else the folder's name.

    A line of that file reads 'n01440764 tench, Tinca tinca'.
    """
    path = root / SYNSETS
    if not path.is_file():
        return classes
    lines = (line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines())
    names = {words[0]: words[1].split(",")[0].strip() for words in lines if len(words) == 2}
    return [names.get(name, name) for name in classes]


def find_images(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Class names in order, and the paths of each split's images relative to `root`."""
    test = next((t for t in TESTS if (root / t).is_dir() and (root / "train").is_dir()), None)
    parts = {"train/": TRAIN, f"{test}/": TEST} if test else {"": ALL}
    classes = sorted({name for part in parts for name in _subfolders(root / part)})
    if not classes:
        actual = (
            "no subfolder" if root.is_dir() else "a file" if root.exists() else "no such folder"
        )
        raise DataMissing(
            f"folder: expected {root}/<class>/<image> or {root}/{{train,test}}/<class>/<image>, "
            f"got {actual}; name the folder that holds the classes (`path: DIR`)"
        )
    members: dict[str, list[tuple[float, str]]] = {name: [] for name in SPLITS}
    suffixes = frozenset(Image.registered_extensions())
    for part, shares in parts.items():
        for label in classes:
            names = _image_names(root / part / label, suffixes)
            if not names:
                raise DataMissing(f"folder: no images in {root / part / label}")
            for name in names:
                image = f"{part}{label}/{name}"
                draw = uniform(image)
                members[split_of(draw, shares)].append((draw, image))
    for name, images in members.items():
        if not images:
            raise DataMissing(f"folder: too few images in {root}: none for the split '{name}'")
        images.sort()  # by draw: the first images of a split are a random sample of its classes
    return classes, {name: [image for _, image in images] for name, images in members.items()}


def uniform(name: str) -> float:
    """A number in [0, 1) from the hash of `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(draw: float, shares: tuple[float, ...]) -> str:
    """The split of a uniform draw, given the shares of SPLITS."""
    for name, end in zip(SPLITS, np.cumsum(shares)[:-1], strict=False):
        if draw < end:
            return name
    return SPLITS[-1]


def stamp(root: Path, members: dict[str, list[str]]) -> str:
    """sha256 of all files' relative paths, lengths and modification times."""
    digest = hashlib.sha256()
    for images in members.values():
        for image in images:
            stat = os.stat(f"{root}/{image}")
            digest.update(json.dumps([image, stat.st_size, stat.st_mtime_ns]).encode())
    return digest.hexdigest()


def _image_names(folder: Path, suffixes: frozenset[str]) -> list[str]:
    """Sorted names of the images in a folder, as strings: a million Paths take much memory."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if os.path.splitext(e.name)[1].lower() in suffixes)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
