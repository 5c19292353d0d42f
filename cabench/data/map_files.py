"""Maps in image files: they take the crop, borders and rotation of their image, pixel by pixel.

Values are not interpolated (nearest pixel), and borders are black. A map may be smaller or larger
than its image, in its proportions. A stream is grey if its first map is, and RGB otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from cabench.data.catalogue import MapStream
from cabench.data.decoded import LEVELS, Pixels, decode, size_of, unreadable
from cabench.errors import DataMissing

File = Path | BytesIO
GREY = ("1", "L", "LA", "La", *LEVELS)  # modes without colour


def map_stream(
    source: str,
    first: tuple[File, str],  # the map that says whether the stream is grey, and its name
    files: Callable[[str, int], tuple[File, File, str]],  # split, row -> image, map, its name
    pixels: Pixels,  # of the images
) -> MapStream:
    """The maps of a stream; only the header of the first one is read."""
    shape = (1 if _is_grey(first[0]) else 3, *pixels.shape[1:])
    like = dataclasses.replace(
        pixels, shape=shape, background="black", resampling=Image.Resampling.NEAREST
    )

    def read(split: str, row: int) -> np.ndarray:
        image, file, name = files(split, row)
        values = decode(file, name, like, source)
        if shape[0] == 1 and not _is_grey(file):
            text = f"expected a grey map, as {first[1]} is, got colour"
            raise DataMissing(f"{source}: {name}: {text}")
        try:
            sizes = size_of(image), size_of(file)
        except (OSError, ValueError) as error:
            raise unreadable(f"the image of {name}", source, error) from None
        if not _in_proportion(*sizes):
            of_image, of_map = ("x".join(map(str, size)) for size in sizes)
            text = f"expected the proportions of its image, {of_image} pixels, got {of_map}"
            raise DataMissing(f"{source}: {name}: {text}")
        return values

    return MapStream(shape, read)


def _is_grey(file: File) -> bool:
    try:
        with Image.open(file) as image:
            return image.mode in GREY
    except Exception:  # unreadable, as `decode` says
        return True


def _in_proportion(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, up to a pixel of the smaller one."""
    (width, height), (w, h) = (size, other) if size[0] >= other[0] else (other, size)
    return abs(height * w / width - h) <= 1
