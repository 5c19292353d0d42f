"""Images that others made, to be scored: a folder, or an .npz file in ADM's layout.

In a folder the class of an image is the first folder of its path, by the name of a class or by its
index. An .npz file has the images as `arr_0` (N, H, W, C) uint8, and labels as `arr_1` (N,) if any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cabench.data.catalogue import Catalogue, Members, upscaled
from cabench.data.dataset import Shape
from cabench.data.decoded import Fit, Pixels, decode, is_upscaled, size_of, to_array, unreadable
from cabench.data.listing import listing, summary
from cabench.errors import CabenchError, DataMissing, near, shown
from cabench.runtime.npz import read_npz

OPTION = "--images"
RESIZE = "--fit crop, pad or stretch resizes them"


@dataclass(frozen=True)
class ImageFiles:
    """Images that are not decoded yet."""

    # fmt: off
    count: int
    shape: Shape                                    # (C, H, W) that `read` returns
    labels: np.ndarray | None                       # (count,) int64 class indices
    unlabelled: str                                 # why there are no labels; "" if there are
    notes: tuple[str, ...]                          # what was ignored or upscaled
    read: Callable[[np.ndarray], np.ndarray]    # rows (n,) -> (n, C, H, W) uint8, or CabenchError
    # fmt: on


def open_images(
    path: Path,
    shape: Shape | None,  # of the data set; None: that of the first image
    classes: Sequence[str],  # of the data set; fewer than two: it has no labels
    fit: Fit | None,  # None: images of another size are refused
) -> ImageFiles:
    """The images of a folder or .npz file; CabenchError if there are none or `shape` differs."""
    if path.is_dir():
        return _folder(path, shape, classes, fit)
    if not path.exists():
        raise CabenchError(f"{OPTION}: no such folder or file: {path}")
    if path.suffix.lower() != ".npz":
        raise CabenchError(f"{OPTION}: expected a folder or an .npz file, got the file {path}")
    return _npz(path, shape, classes, fit)


# ---- folders ------------------------------------------------------------------------------------


def _folder(top: Path, shape: Shape | None, classes: Sequence[str], fit: Fit | None) -> ImageFiles:
    try:
        below = listing(str(top))
    except OSError as error:
        raise CabenchError(f"{OPTION}: can't read {top}: {error.strerror}") from None
    if below.problems:
        more = f" (and {len(below.problems) - 1:,} more)" if len(below.problems) > 1 else ""
        raise CabenchError(f"{OPTION}: {below.problems[0]}{more}")
    ignored = summary(below.ignored)
    if not below.images:
        raise CabenchError(f"{OPTION}: no images in {top}{f'; {ignored}' if ignored else ''}")
    names = below.images
    if shape is None:
        width, height = _size(top / names[0])
        shape = (3, height, width)
    pixels = _pixels(shape, fit)
    labels, unlabelled = folder_labels(names, classes)

    def read_one(_: str, row: int) -> np.ndarray:
        path = top / names[row]
        if fit is None and (size := _size(path)) != pixels.size:
            raise CabenchError(_other_size(str(path), size, pixels.size))
        return _channels(decode(path, str(path), pixels, OPTION), shape, str(path))

    files = Catalogue(
        name=OPTION,
        licence="",
        classes={},
        flip=False,
        shape=shape,
        splits={OPTION: Members(names, {}, {})},
        read=read_one,
        key="",
        upscales=lambda _, row: is_upscaled(top / names[row], pixels),
    )

    def read(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *shape), np.uint8)
        for i, image in enumerate(files.decoded(OPTION, rows.tolist())):
            if isinstance(image, DataMissing):
                raise image
            images[i] = image
        return images

    notes = [ignored, None if fit is None else upscaled(files)]
    return ImageFiles(
        len(names), shape, labels, unlabelled, tuple(note for note in notes if note), read
    )


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file; DataMissing if it cannot be read."""
    try:
        return size_of(path)
    except Exception as error:  # Pillow's errors depend on the format
        raise unreadable(str(path), OPTION, error) from error


def folder_labels(names: Sequence[str], classes: Sequence[str]) -> tuple[np.ndarray | None, str]:
    """The class index of each path 'CLASS/.../image', or None and the reason.

    Folders are all named by class or all by index.
    """
    if len(classes) < 2:
        return None, "the data set has no labels"
    folders = [name.split("/")[0] if "/" in name else "" for name in names]
    if "" in folders:
        example = names[folders.index("")]
        return None, f"{example} is in no folder that is named after a class or its index"
    counts = Counter(classes)
    by_name = {name: k for k, name in enumerate(classes)}
    if all(folder in counts for folder in folders):
        if double := next((folder for folder in folders if counts[folder] > 1), None):
            return None, f"{counts[double]} classes are called {shown(double)}; use their indices"
        return np.array([by_name[folder] for folder in folders], np.int64), ""
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        indices = [int(folder) for folder in folders]
        if max(indices) < len(classes):
            return np.array(indices, np.int64), ""
        other = shown(folders[indices.index(max(indices))])
        return None, f"the folder {other} is no index of the {len(classes):,} classes"
    other = next(folder for folder in folders if folder not in counts)
    return None, f"the folder {shown(other)} is no class of the data set{near(other, classes)}"


# ---- .npz files ---------------------------------------------------------------------------------


def _npz(path: Path, shape: Shape | None, classes: Sequence[str], fit: Fit | None) -> ImageFiles:
    arrays = read_npz(path, ["arr_0"], ["arr_1"])
    images = arrays["arr_0"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise CabenchError(
            f"{path}: arr_0: expected uint8 images (N, H, W, 1 or 3), got {images.dtype} "
            f"{images.shape}"
        )
    if not len(images):
        raise CabenchError(f"{path}: arr_0: no images")
    height, width = images.shape[1:3]
    shape = shape or (3, height, width)
    pixels = _pixels(shape, fit)
    if fit is None and (width, height) != pixels.size:
        raise CabenchError(_other_size(f"{path}: arr_0", (width, height), pixels.size))
    labels, unlabelled = _npz_labels(path, arrays.get("arr_1"), len(images), classes)

    def read(rows: np.ndarray) -> np.ndarray:
        chosen = np.empty((len(rows), *shape), np.uint8)
        for i, row in enumerate(rows):
            rgb = np.broadcast_to(images[row], (height, width, 3))
            image = to_array(Image.fromarray(np.ascontiguousarray(rgb)), pixels)
            chosen[i] = _channels(image, shape, f"{path}: arr_0: image {row}")
        return chosen

    return ImageFiles(len(images), shape, labels, unlabelled, (), read)


def _npz_labels(
    path: Path, labels: np.ndarray | None, count: int, classes: Sequence[str]
) -> tuple[np.ndarray | None, str]:
    if len(classes) < 2:
        return None, "the data set has no labels"
    if labels is None:
        return None, f"{path} has no labels (arr_1)"
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise CabenchError(
            f"{path}: arr_1: expected {count:,} labels (N,) as integers, got {labels.dtype} "
            f"{labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise CabenchError(
            f"{path}: arr_1: expected labels from 0 to {len(classes) - 1}, got "
            f"{labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64), ""


# ---- shapes -------------------------------------------------------------------------------------


def _other_size(where: str, actual: tuple[int, int], expected: tuple[int, int]) -> str:
    wide, high = actual
    width, height = expected
    return (
        f"{OPTION}: {where}: expected {width}x{height} pixels (width x height), got {wide}x{high}; "
        f"{RESIZE}"
    )


def _pixels(shape: Shape, fit: Fit | None) -> Pixels:
    """How images are read for a data set of this shape: with opacity if it has that, else RGB."""
    return Pixels((max(3, shape[0]), shape[1], shape[2]), fit or "crop")


def _channels(image: np.ndarray, shape: Shape, where: str) -> np.ndarray:
    """An image (3 or 4, H, W) with as many channels as `shape`; grey must look grey."""
    if len(image) == shape[0]:
        return image
    if (image != image[:1]).any():
        raise CabenchError(f"{OPTION}: {where}: expected grey, as the data set is, got colours")
    return image[:1]
