"""Image files decoded once, into memory-mapped arrays in the folder data/ of the cache.

A cached set is named after what was listed (each file's relative path, length and modification
time); its fingerprint, of the decoded content, is verified whenever it is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cabench.data.catalogue import Catalogue, require_valid, upscaled
from cabench.data.dataset import SPLITS, Dataset, Maps, Shape, Split, fingerprint
from cabench.errors import DataMissing
from cabench.runtime.cache import data_folder
from cabench.runtime.files import LOG, atomic_folder
from cabench.runtime.sealed import Corrupted, load_or_make

VERSION = 3  # of the decoding; part of the cache's key

Fit = Literal["crop", "pad", "stretch"]
Channels = Literal[1, 3, 4]  # grey, RGB, RGBA
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load(catalogue: Catalogue) -> Dataset:
    """The catalogue's data set, decoded if it is not in the cache; then notes are logged.

    DataMissing names the first problem of the catalogue, if there are any.
    """
    require_valid(catalogue)
    content = json.dumps([catalogue.key, VERSION, catalogue.shape])
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return load_or_make(
        data_folder() / f"{catalogue.name}-{key}",
        read=partial(_read, catalogue),
        make=partial(decode_all, catalogue),
        errors=(OSError,),
    )


def _read(catalogue: Catalogue, folder: Path) -> Dataset:
    """The data set in `folder`, memory-mapped; Corrupted if its fingerprint does not match."""
    expected = json.loads((folder / "facts.json").read_text("utf-8"))["fingerprint"]
    splits = {
        name: _split(
            catalogue,
            name,
            np.load(folder / f"{name}.npy", mmap_mode="c"),
            {s: np.load(folder / f"{name}-map-{s}.npy", mmap_mode="c") for s in catalogue.maps},
        )
        for name in SPLITS
    }
    if fingerprint(splits, catalogue.classes) != expected:
        raise Corrupted(f"{folder} is corrupted")
    return Dataset(
        name=catalogue.name,
        licence=catalogue.licence,
        classes=catalogue.classes,
        flip=catalogue.flip,
        splits=splits,
        fingerprint=expected,
    )


def _split(catalogue: Catalogue, name: str, images: np.ndarray, maps: Maps) -> Split:
    members = catalogue.splits[name]
    return Split(images, members.streams, members.texts, vectors=members.vectors, maps=maps)


def decode_all(catalogue: Catalogue, folder: Path) -> None:
    """Write each split's images and maps (N, C, H, W) and the fingerprint into the new `folder`."""
    for line in catalogue.notes:
        LOG.warning("%s: %s", catalogue.name, line)
    with atomic_folder(folder) as part:
        splits = {}
        for name in SPLITS:
            images = _write(catalogue, name, None, part / f"{name}.npy")
            maps = {
                stream: _write(catalogue, name, stream, part / f"{name}-map-{stream}.npy")
                for stream in catalogue.maps
            }
            splits[name] = _split(catalogue, name, images, maps)
        facts = {"fingerprint": fingerprint(splits, catalogue.classes)}
        (part / "facts.json").write_text(json.dumps(facts), "utf-8")
    if (line := upscaled(catalogue)) is not None:
        LOG.warning("%s: %s", catalogue.name, line)


def _write(catalogue: Catalogue, name: str, stream: str | None, path: Path) -> np.ndarray:
    """A split's images, or a stream's maps, decoded into a file; raises the first DataMissing."""
    one = catalogue.shape if stream is None else catalogue.maps[stream].shape
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(catalogue.splits[name]), *one))
    for i, image in enumerate(catalogue.decoded(name, stream=stream)):
        if isinstance(image, DataMissing):
            raise image
        array[i] = image
    array.flush()
    return array


# ---- pixels -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pixels:
    """How an image file becomes an array."""

    # fmt: off
    shape: Shape                    # (C, H, W) of the array
    fit: Fit = "crop"               # to H x W: cut what is too long, add a border, or distort
    background: str = "white"       # of transparent images and of borders, as Pillow names colours
    resampling: Image.Resampling = Image.Resampling.LANCZOS
    # fmt: on

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), Pillow's order."""
        _, height, width = self.shape
        return width, height


def decode(file: Path | BytesIO, name: str, pixels: Pixels, source: str) -> np.ndarray:
    """(C, H, W) uint8 from an image file; DataMissing, with its `name`, if it cannot be read.

    The image is rotated as its EXIF data says, and then as in `to_array`.
    """
    try:
        with Image.open(file) as opened:
            return to_array(ImageOps.exif_transpose(opened), pixels)
    except Exception as error:  # Pillow's errors depend on the format
        raise unreadable(name, source, error) from error


def unreadable(name: str, source: str, error: Exception) -> DataMissing:
    """The error of an image file that Pillow cannot open or decode."""
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "no format that Pillow reads" if unknown else str(error) or type(error).__name__
    return DataMissing(
        f"{source}: {name} cannot be read as an image ({reason}); replace or remove it"
    )


def to_array(image: Image.Image, pixels: Pixels) -> np.ndarray:
    """(C, H, W) uint8 from an image; ValueError for values that `to_8_bit` refuses.

    The image is scaled to 8 bit, composited on the background unless C is 4, converted to C
    channels, and resized as `pixels.fit` says; one of the right size keeps its pixels.
    """
    channels, height, width = pixels.shape
    image = to_8_bit(image)
    if image.has_transparency_data and channels != 4:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, pixels.background)
        image = Image.alpha_composite(behind, image)
    image = image.convert(MODES[channels])
    image = FITS[pixels.fit](image, pixels)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _crop(image: Image.Image, pixels: Pixels) -> Image.Image:
    """The shorter side is resized to fit, the longer one cropped about the centre."""
    return ImageOps.fit(image, pixels.size, pixels.resampling)


def _pad(image: Image.Image, pixels: Pixels) -> Image.Image:
    """The longer side is resized to fit, the shorter one padded on both sides."""
    border = pixels.background if image.mode != "RGBA" else (0, 0, 0, 0)  # transparent
    return ImageOps.pad(image, pixels.size, pixels.resampling, color=border)


def _stretch(image: Image.Image, pixels: Pixels) -> Image.Image:
    """Both sides are resized, the proportions are lost."""
    return image.resize(pixels.size, pixels.resampling)


FITS: dict[Fit, Callable[[Image.Image, Pixels], Image.Image]] = {
    "crop": _crop,
    "pad": _pad,
    "stretch": _stretch,
}
UPSCALES: dict[Fit, Callable[[Iterable[bool]], bool]] = {  # of: is the image less wide, less high?
    "crop": any,
    "pad": all,
    "stretch": any,
}


def is_upscaled(file: Path | BytesIO, pixels: Pixels) -> bool:
    """Whether an image has fewer pixels than `decode` gives it; reads its header only."""
    try:
        pairs = zip(size_of(file), pixels.size, strict=True)
        return UPSCALES[pixels.fit](actual < side for actual, side in pairs)
    except Exception:  # unreadable, as `decode` says
        return False


def size_of(file: Path | BytesIO) -> tuple[int, int]:
    """(width, height) of an image file, rotated as its EXIF data says; reads its header only."""
    with Image.open(file) as image:
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # by 90 degrees
        width, height = image.size
        return (height, width) if is_turned else (width, height)


# ---- 16 and 32 bit ------------------------------------------------------------------------------

LEVELS = {  # white in images of more than 8 bit, by mode: the smallest that no value exceeds
    "I;16": (65535,),
    "I;16L": (65535,),
    "I;16B": (65535,),
    "I;16N": (65535,),
    "I": (255, 65535),
    "F": (1, 255, 65535),
}


def to_8_bit(image: Image.Image) -> Image.Image:
    """The image with values from 0 to 255: those of 16 bit are divided by 257.

    32-bit integers and floats do not say how bright white is: it is the smallest of LEVELS that no
    value exceeds. ValueError for values outside.
    """
    if image.mode not in LEVELS:
        return image
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    white = next((level for level in LEVELS[image.mode] if high <= level), None)
    if white is None or not low >= 0:  # or not a number
        raise ValueError(
            f"expected values from 0 to {LEVELS[image.mode][-1]}, got {low:g} to {high:g}"
        )
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
