"""Sample images of one arm as a PNG, for a page that sets the names itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cabench.runtime.files import atomic_path

CELL, GAP = 48, 2  # pixels: smallest side of a cell, between cells


def strip(path: str | Path, images: np.ndarray) -> list[Path]:
    """Write images (columns, rows, C, H, W) uint8, C 1 or 3, enlarged without smoothing."""
    columns, rows, channels, height, width = images.shape
    zoom = max(1, -(-CELL // max(height, width)))
    high, wide = height * zoom, width * zoom
    shape = (rows * (high + GAP) - GAP, columns * (wide + GAP) - GAP, channels)
    page = np.full(shape, 255, np.uint8)
    for c in range(columns):
        for r in range(rows):
            cell = images[c, r].transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
            top, left = r * (high + GAP), c * (wide + GAP)
            page[top : top + high, left : left + wide] = cell
    path = Path(path).with_suffix(".png")
    with atomic_path(path) as part:
        image = Image.fromarray(page.squeeze(2) if channels == 1 else page)
        image.save(part, format="PNG", optimize=True)
    return [path]
