"""Samples of a text study with their prompts below: a column per prompt, a row per arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cabench.analysis.figures.grid import BLOCK_GAP, EMPTY, GAP, LINE, MARGIN, REAL, enlarged, font
from cabench.analysis.formatting import fold
from cabench.analysis.grids import Grids
from cabench.runtime.files import atomic_path

CELL, COLUMNS = 112, 8  # pixels: smallest side of a cell; prompts side by side
NAME_LETTERS = 22  # in a line of an arm's name
LETTER = 7.5  # pixels, mean width of a letter
Rows = list[tuple[str, np.ndarray | None]]  # name, images (prompts, rows, C, H, W) uint8


def prompted(path: str | Path, arms: Sequence[str], grids: Grids) -> list[Path]:
    """Write a PNG of bands of prompts; in each the real images, a row per arm, and the prompts."""
    assert grids.real is not None and grids.unseen is not None
    rows: Rows = [(REAL, grids.real), *((arm, grids.samples.get(arm)) for arm in arms)]
    height, width = grids.real.shape[-2:]
    zoom = max(1, -(-CELL // max(height, width)))
    names = {name: fold(name, NAME_LETTERS) for name, _ in rows}
    lines = [line for folded in names.values() for line in folded]
    layout = _Layout(
        zoom=zoom,
        high=height * zoom,
        wide=width * zoom,
        left=MARGIN + 10 + int(max(font(True).getlength(line) for line in lines)),
        names=names,
        prompts=[
            _prompt_lines(prompt, unseen, width * zoom)
            for prompt, unseen in zip(grids.columns, grids.unseen, strict=True)
        ],
    )
    page = layout.draw(rows)
    path = Path(path).with_suffix(".png")
    with atomic_path(path) as part:
        page.save(part, format="PNG", optimize=True)
    return [path]


def _prompt_lines(prompt: str, unseen: bool, wide: int) -> list[str]:
    """A prompt in lines as wide as its image."""
    return fold(prompt, int(wide / LETTER)) + (["(unseen)"] if unseen else [])


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels, and the texts in lines."""

    zoom: int
    high: int  # of a cell
    wide: int
    left: int  # of the first column
    names: dict[str, list[str]]
    prompts: list[list[str]]

    def draw(self, rows: Rows) -> Image.Image:
        count = len(self.prompts)
        bands = [range(i, min(i + COLUMNS, count)) for i in range(0, count, COLUMNS)]
        heights = [self._height(band, len(rows)) for band in bands]
        width = self.left + min(COLUMNS, count) * (self.wide + GAP) + MARGIN
        page = Image.new("RGB", (width, 2 * MARGIN + sum(heights)), "white")
        y = MARGIN
        for band, height in zip(bands, heights, strict=True):
            self._draw_band(page, rows, band, y)
            y += height
        return page

    def _height(self, band: range, rows: int) -> int:
        lines = max(len(self.prompts[column]) for column in band)
        return rows * (self.high + GAP) + LINE * lines + 2 * BLOCK_GAP

    def _draw_band(self, page: Image.Image, rows: Rows, band: range, y: int) -> None:
        draw = ImageDraw.Draw(page)
        for row, (name, images) in enumerate(rows):
            top = y + row * (self.high + GAP)
            for i, line in enumerate(self.names[name]):
                draw.text((MARGIN, top + LINE * i), line, "black", font(name == REAL))
            for place, column in enumerate(band):
                x = self.left + place * (self.wide + GAP)
                if images is None:
                    page.paste(EMPTY, (x, top, x + self.wide, top + self.high))
                else:
                    page.paste(enlarged(images[column, 0], self.zoom), (x, top))
        below = y + len(rows) * (self.high + GAP) + 2
        for place, column in enumerate(band):
            middle = self.left + place * (self.wide + GAP) + self.wide // 2
            for i, line in enumerate(self.prompts[column]):
                draw.text((middle, below + LINE * i), line, "black", font(), anchor="ma")
