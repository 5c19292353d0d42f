"""Maps in image files: they take the crop, borders and rotation of their image, pixel by pixel.

Values are not interpolated (nearest pixel), and borders are black. A map may be smaller or larger
than its image, in its proportions. A stream is grey if its first map is, and RGB otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from cabench.data.catalogue import MapStream
from cabench.data.decoded import LEVELS, Pixels, decode, size_of
from cabench.errors import DataMissing

GREY = ("1", "L", "LA", "La", *LEVELS)  # modes without colour


def map_stream(
    source: str,
    root: Path,
    members: Mapping[str, list[str]],  # split -> images
    paths: Mapping[str, str],  # image -> its map; all paths are relative to `root`
    pixels: Pixels,  # of the images
) -> MapStream:
    """The maps of a stream; only the header of the first one is read."""
    first = root / min(paths.values())
    shape = (1 if _is_grey(first) else 3, *pixels.shape[1:])
    like = dataclasses.replace(
        pixels, shape=shape, background="black", resampling=Image.Resampling.NEAREST
    )

    def read(split: str, row: int) -> np.ndarray:
        image = members[split][row]
        path = root / paths[image]
        values = decode(path, str(path), like, source)
        if shape[0] == 1 and not _is_grey(path):
            raise DataMissing(f"{source}: {path}: expected a grey map, as {first} is, got colour")
        if not _in_proportion(size_of(root / image), size_of(path)):
            sizes = ["x".join(map(str, size_of(file))) for file in (root / image, path)]
            text = f"expected the proportions of its image, {sizes[0]} pixels, got {sizes[1]}"
            raise DataMissing(f"{source}: {path}: {text}")
        return values

    return MapStream(shape, read)


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in GREY
    except Exception:  # unreadable, as `decode` says
        return True


def _in_proportion(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, up to a pixel of the smaller one."""
    (width, height), (w, h) = (size, other) if size[0] >= other[0] else (other, size)
    return abs(height * w / width - h) <= 1
