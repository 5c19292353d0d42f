"""A folder of pictures, one subfolder a class: anything that Pillow reads.

`<path>/<class>/<picture>`: each picture's split follows from a hash of its relative path, 80 / 10 /
10 % on average, so that adding pictures moves none of the others.
`<path>/train/<class>/...` and `<path>/test/<class>/...`: report is the test set; the training set
is cut in the same way, 90 / 10 %, into generator-train and judge-train.

The shorter side is resized to `size`, the longer one cropped about its centre. Decoded pictures are
kept in .cabench/data/, under a key of every file's relative path, length and time of change; the
fingerprint is over what was decoded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from cabench.data.dataset import SPLITS, Dataset, Split, fingerprint
from cabench.errors import DataMissing
from cabench.registry import DATASETS
from cabench.store import LOG

CACHE = Path(".cabench/data")
VERSION = 1                        # of the decoding; part of the cache's key

Side = Annotated[int, Field(ge=1, le=4096)]  # pixels


@DATASETS.register("folder")
def folder(path: str, size: Side, flip: bool = False, channels: Literal[1, 3] = 3) -> Dataset:
    """Your pictures: path/class/picture, or path/{train,test}/class/picture."""
    root = Path(path)
    try:
        classes, members = find_pictures(root)
    except OSError as error:  # a folder without permission, a name too long
        raise DataMissing(f"folder: can't read {root}: {error.strerror}") from error
    made = CACHE / f"folder-{cache_key(root, members, (VERSION, size, channels))}"
    if not made.is_dir():
        decode_all(root, classes, members, (channels, size, size), made)
    dataset = _read(made, classes, members, flip)
    if dataset is None:
        LOG.warning("%s is damaged: decoded again", made)
        shutil.rmtree(made)
        decode_all(root, classes, members, (channels, size, size), made)
        dataset = _read(made, classes, members, flip)
    return dataset


def _read(
    made: Path, classes: list[str], members: dict[str, list[str]], flip: bool
) -> Dataset | None:
    """What was decoded; None when it isn't what was written."""
    try:
        told = json.loads((made / "facts.json").read_text("utf-8"))["fingerprint"]
        splits = {
            # left on disk until it is read
            name: Split(
                np.load(made / f"{name}.npy", mmap_mode="c"),
                {"label": labels_of(members[name], classes)},
            )
            for name in SPLITS
        }
        whole = fingerprint(splits, {"label": classes}) == told
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        return None
    return Dataset(
        name="folder",
        licence="that of the pictures in the folder",
        classes={"label": classes},
        flip=flip,
        splits=splits,
        fingerprint=told,
    )


def find_pictures(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Class names in order, and each split's pictures by their path relative to `root`."""
    official = all((root / part).is_dir() for part in ("train", "test"))
    parts = ("train/", "test/") if official else ("",)
    classes = sorted({p.name for part in parts for p in _folders(root / part)})
    if not classes:
        found = "no subfolder" if root.is_dir() else "a file" if root.exists() else "no such folder"
        raise DataMissing(
            f"folder: looked for {root}/<class>/<picture> or {root}/{{train,test}}/<class>/"
            f"<picture>, found {found}; name the folder that holds the classes (`path: DIR`)"
        )
    members: dict[str, list[str]] = {name: [] for name in SPLITS}
    kinds = Image.registered_extensions()
    for part in parts:
        shares = {"": (0.8, 0.1, 0.1), "train/": (0.9, 0.1, 0.0), "test/": (0.0, 0.0, 1.0)}[part]
        for label in classes:
            place = root / part / label
            pictures = [p for p in place.glob("*") if p.suffix.lower() in kinds]
            if not pictures:
                raise DataMissing(f"folder: looked for pictures in {place}, found none")
            for picture in sorted(p.relative_to(root).as_posix() for p in pictures):
                members[split_of(picture, shares)].append(picture)
    for name, pictures in members.items():
        if not pictures:
            raise DataMissing(f"folder: {root} holds too few pictures, none falls to '{name}'")
    return classes, members


def split_of(picture: str, shares: tuple[float, ...]) -> str:
    """The split of one picture, from the hash of its relative path alone."""
    draw = int.from_bytes(hashlib.sha256(picture.encode()).digest()[:8], "big") / 2**64
    return SPLITS[int(np.searchsorted(np.cumsum(shares)[:-1], draw, side="right"))]


def cache_key(root: Path, members: dict[str, list[str]], options: tuple[int, ...]) -> str:
    """16 hex digits that change with any file's relative path, length or time of change."""
    stats = {p: (root / p).stat() for pictures in members.values() for p in pictures}
    listing = [(p, stat.st_size, stat.st_mtime_ns) for p, stat in stats.items()]
    return hashlib.sha256(json.dumps([listing, options]).encode()).hexdigest()[:16]


def labels_of(pictures: list[str], classes: list[str]) -> np.ndarray:
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[p.split("/")[-2]] for p in pictures], dtype=np.int64)


def decode_all(
    root: Path,
    classes: list[str],
    members: dict[str, list[str]],
    shape: tuple[int, int, int],
    made: Path,
) -> None:
    """Write each split's pictures (N, C, H, W) and the fingerprint into the new folder `made`."""
    made.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=made.parent))
    try:
        splits = {}
        for name, pictures in members.items():
            images = np.lib.format.open_memmap(
                making / f"{name}.npy", "w+", np.uint8, (len(pictures), *shape)
            )
            for i, picture in enumerate(pictures):
                images[i] = decode(root / picture, shape)
            images.flush()
            splits[name] = Split(images, {"label": labels_of(pictures, classes)})
        facts = {"fingerprint": fingerprint(splits, {"label": classes})}
        (making / "facts.json").write_text(json.dumps(facts), "utf-8")
        try:
            making.rename(made)
        except OSError:  # another process was first, with the same content
            if not made.is_dir():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def decode(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """(C, H, W) uint8: turned upright, on white where transparent, resized, centre-cropped."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            picture = picture.convert("RGB" if channels == 3 else "L")
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    except Exception as error:  # what Pillow raises depends on the format
        raise DataMissing(
            f"folder: {path} doesn't read as a picture ({type(error).__name__}: {error}); "
            "replace or remove it"
        ) from error
    return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [p for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")]
