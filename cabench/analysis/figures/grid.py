"""Sample grid: the same seeds and labels in the same cells for every arm, real images on top."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cabench.analysis.figures.style import DPI
from cabench.analysis.formatting import fold, pieces
from cabench.runtime.files import atomic_path

CELL, GAP, BLOCK_GAP, MARGIN = 56, 2, 12, 14  # pixels: smallest cell; gaps; around the page
NAME_LETTERS = 22  # in a line of an arm's name; 40 take two
TURNED_LETTERS = 18  # in a line of a class name turned by 90 degrees
LINE = 16  # pixels from one line of text to the next
TALL, TALLEST = 1400, 1.4  # pixels, height / width: beyond both, side by side
EMPTY = (236, 236, 236)
REAL = "real images"
Blocks = list[tuple[str, np.ndarray | None]]


def grid(
    path: str | Path,
    arms: Sequence[str],
    samples: dict[str, np.ndarray],
    labels: Sequence[str],
    real: np.ndarray | None = None,
    maps: Mapping[str, np.ndarray] | None = None,
    rows: Sequence[str] = (),
) -> list[Path]:
    """Write a PNG: a block of rows per arm, a column per class, enlarged without smoothing.

    `samples[arm]`, `real` and `maps[stream]`: (k, C, H, W) uint8, C 1, 3 or 4; maps are those of
    the real images, below them; `labels`: the k class names, the same for all arms; `rows`: the
    names of a block's rows, such as styles. Image i is at the same place in every block; an arm
    without samples has empty cells. Many arms stand in parts side by side, with the real images on
    top of each part.
    """
    top: Blocks = [(REAL, real)] if real is not None else []
    top += (maps or {}).items()
    blocks = [(arm, samples.get(arm)) for arm in arms]
    layout = Layout(top + blocks, labels, rows)
    parts = _side_by_side(layout, top, blocks)
    page = Image.new("RGB", (layout.width * len(parts), layout.height(parts[0])), "white")
    for i, part in enumerate(parts):
        layout.draw(page, part, i * layout.width)
    path = Path(path).with_suffix(".png")
    with atomic_path(path) as unfinished:
        page.save(unfinished, format="PNG", dpi=(DPI, DPI), optimize=True)
    return [path]


def _side_by_side(layout: Layout, top: Blocks, blocks: Blocks) -> list[Blocks]:
    """The blocks in as few parts as give a page that is not too tall, `top` above each."""
    for count in range(1, len(blocks) + 1):
        size = math.ceil(len(blocks) / count)
        parts = [top + blocks[i : i + size] for i in range(0, len(blocks), size)]
        if layout.height(parts[0]) <= max(TALL, TALLEST * layout.width * len(parts)):
            return parts
    return [top + blocks]


class Layout:
    """Sizes in pixels that all blocks share; draws one part of the page."""

    def __init__(self, blocks: Blocks, labels: Sequence[str], rows: Sequence[str] = ()):
        high, wide = _checked(blocks, labels)
        classes = list(dict.fromkeys(labels))
        self.zoom = max(1, math.ceil(CELL / max(high, wide)))
        self.high, self.wide = high * self.zoom, wide * self.zoom
        self.cells = _cells(labels, classes)
        self.rows = 1 + max(row for row, _ in self.cells)
        self.names = {name: fold(name, NAME_LETTERS) for name, _ in blocks}
        lines = [(name == REAL, line) for name, lines in self.names.items() for line in lines]
        self.left = MARGIN + 10 + int(max(font(bold).getlength(line) for bold, line in lines))
        self.row_names = rows
        if rows:
            self.left += 10 + int(max(font().getlength(name) for name in rows))
        self.heads = _heads(classes, self.wide)
        self.top = MARGIN + 8 + max(head.height for head in self.heads)
        self.width = self.left + len(classes) * (self.wide + GAP) + MARGIN

    def tall(self, name: str) -> int:
        """The height of a block: of its images, or of its name where that is taller."""
        return max(self.rows * (self.high + GAP), LINE * len(self.names[name]) + 4) + BLOCK_GAP

    def height(self, blocks: Blocks) -> int:
        return self.top + sum(self.tall(name) for name, _ in blocks)

    def draw(self, page: Image.Image, blocks: Blocks, x: int) -> None:
        draw = ImageDraw.Draw(page)
        for column, head in enumerate(self.heads):
            middle = x + self.left + column * (self.wide + GAP) + self.wide // 2
            page.paste(head, (middle - head.width // 2, self.top - 6 - head.height))
        y = self.top
        for name, images in blocks:
            for line, text in enumerate(self.names[name]):
                draw.text((x + MARGIN, y + LINE * line), text, "black", font(name == REAL))
            for row, text in enumerate(self.row_names):
                middle = y + row * (self.high + GAP) + self.high // 2
                draw.text((x + self.left - 8, middle), text, "#555555", font(), anchor="rm")
            for i, (row, column) in enumerate(self.cells):
                corner = (
                    x + self.left + column * (self.wide + GAP),
                    y + row * (self.high + GAP),
                )
                if images is None:
                    page.paste(EMPTY, (*corner, corner[0] + self.wide, corner[1] + self.high))
                else:
                    page.paste(enlarged(images[i], self.zoom), corner)
            if images is None:
                draw.text((x + self.left + 6, y + 6), "no samples", "#777777", font())
            y += self.tall(name)


def _checked(blocks: Blocks, labels: Sequence[str]) -> tuple[int, int]:
    """The size (H, W) of all images; raises ValueError, naming the block, where they don't fit."""
    shapes = {}
    for name, images in blocks:
        if images is not None:
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3, 4):
                raise ValueError(
                    f"grid: '{name}': expected uint8 (k, 1, 3 or 4, H, W), "
                    f"got {images.dtype} {images.shape}"
                )
            if len(images) != len(labels):
                raise ValueError(
                    f"grid: '{name}' has {len(images)} images but {len(labels)} labels"
                )
            shapes[name] = images.shape[2:]
    if not shapes or not len(labels):
        raise ValueError("grid: no samples to draw")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"grid: images differ in size: {shapes}")
    return next(iter(shapes.values()))


def _cells(labels: Sequence[str], classes: list[str]) -> list[tuple[int, int]]:
    """(row, column) of each image: its class's column, the next free row in it."""
    used = dict.fromkeys(classes, 0)
    places = []
    for label in labels:
        places.append((used[label], classes.index(label)))
        used[label] += 1
    return places


def enlarged(image: np.ndarray, zoom: int) -> Image.Image:
    """An image (C, H, W) uint8, `zoom` times as large, without smoothing; transparency is white."""
    pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    pixels = pixels.transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
    large = Image.fromarray(np.ascontiguousarray(pixels))
    if large.mode == "RGBA":
        white = Image.new("RGBA", large.size, "white")
        return Image.alpha_composite(white, large).convert("RGB")
    return large


@cache
def font(bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as shipped with matplotlib, so that every machine draws the same letters."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, 13)


def _heads(classes: list[str], wide: int) -> list[Image.Image]:
    """Class names as images; all turned by 90 degrees where a word is wider than its column."""
    letters = max(6, wide // 8)
    heads = [_head(fold(name, letters)) for name in classes]
    whole = all(len(piece) <= letters for name in classes for piece in pieces(name))
    if whole and all(h.width <= wide + GAP and h.height <= 3 * LINE for h in heads):
        return heads
    turned = [_head(fold(name, TURNED_LETTERS)[: max(1, wide // LINE)]) for name in classes]
    return [head.rotate(90, expand=True) for head in turned]


def _head(lines: list[str]) -> Image.Image:
    """Lines of text as an image, centred."""
    width = max(int(font().getlength(line)) + 2 for line in lines)
    label = Image.new("RGB", (width, LINE * len(lines)), "white")
    draw = ImageDraw.Draw(label)
    for i, line in enumerate(lines):
        draw.text((width / 2, LINE * i + 12), line, "black", font(), anchor="ms")
    return label
