"""Sample grids: PNG files of sample images beside the records, one column per class or prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cabench.errors import CabenchError
from cabench.records.schema import GridLayout
from cabench.runtime.files import atomic_path
from cabench.runtime.sealed import RUN_REGENERATES

LIMIT = 100_000  # bytes of a file
ROWS, COLUMNS = 8, 20  # at most
SIDE = 64  # pixels; larger images are downscaled
INVALID = (OSError, SyntaxError)  # raised by Pillow for a corrupted PNG


def write_grid(
    path: Path, images: np.ndarray, labels: np.ndarray, classes: int, rows: int = ROWS
) -> GridLayout:
    """Write images (n, C, H, W) uint8 with labels (n,) as a PNG and return its layout.

    Column c holds the first images of label c, as many rows as fit the limit. Cells of a class with
    too few images stay black.
    """
    classes = min(classes, COLUMNS)
    columns = [_downscaled(images[np.flatnonzero(labels == c)[:rows]]) for c in range(classes)]
    _, channels, height, width = columns[0].shape
    while True:
        cells = np.zeros((rows, classes, height, width, channels), np.uint8)
        for c, column in enumerate(columns):
            cells[: len(column[:rows]), c] = column[:rows].transpose(0, 2, 3, 1)
        pixels = cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, classes * width, channels)
        with atomic_path(path) as part:
            image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
            image.save(part, format="PNG", optimize=True)
            size = part.stat().st_size
        if size <= LIMIT or rows == 1:
            return GridLayout(rows=rows, columns=classes, height=height, width=width)
        rows = max(1, rows * LIMIT // size)


def read_grid(path: Path, layout: GridLayout) -> np.ndarray:
    """Return the images of a grid, (columns, rows, C, H, W) uint8."""
    try:
        pixels = np.asarray(Image.open(path))
    except INVALID as error:
        raise CabenchError(f"{path} is corrupted ({error}); {RUN_REGENERATES}") from None
    rows, height, columns, width = layout.rows, layout.height, layout.columns, layout.width
    if pixels.shape[:2] != (rows * height, columns * width):
        size = f"{columns * width}x{rows * height}"
        raise CabenchError(f"{path}: expected {size} pixels, got {pixels.shape[1]}x{len(pixels)}")
    shape = (rows, height, columns, width, -1)
    return pixels.reshape(shape).transpose(2, 0, 4, 1, 3)


def is_intact(path: Path) -> bool:
    """Return whether the PNG exists and the checksum of each of its chunks matches."""
    try:
        with Image.open(path) as image:
            image.verify()
        return True
    except INVALID:
        return False


def _downscaled(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) uint8, averaged over squares of pixels where a side exceeds SIDE."""
    n, channels, height, width = images.shape
    by = -(-max(height, width) // SIDE)
    if by == 1:
        return images
    height, width = height // by, width // by
    squares = images[:, :, : height * by, : width * by].reshape(n, channels, height, by, width, by)
    return np.rint(squares.mean((3, 5), dtype=np.float64)).astype(np.uint8)
