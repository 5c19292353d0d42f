"""One arm's samples as a picture: for a page that sets the names itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cabench.runtime.files import atomic_path

CELL, GAP = 48, 2  # pixels: least side of a cell, between cells


def strip(path: str | Path, images: np.ndarray) -> list[Path]:
    """A PNG, enlarged without smoothing. images (columns, rows, C, H, W) uint8, C 1 or 3."""
    columns, rows, channels, high, wide = images.shape
    zoom = max(1, -(-CELL // max(high, wide)))
    tall, broad = high * zoom + GAP, wide * zoom + GAP
    page = np.full((rows * tall - GAP, columns * broad - GAP, channels), 255, np.uint8)
    for c in range(columns):
        for r in range(rows):
            cell = images[c, r].transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
            page[r * tall : r * tall + high * zoom, c * broad : c * broad + wide * zoom] = cell
    path = Path(path).with_suffix(".png")
    with atomic_path(path) as part:
        Image.fromarray(page.squeeze(2) if channels == 1 else page).save(
            part, format="PNG", optimize=True
        )
    return [path]
