"""Samples of a text study with their prompts below: a column a prompt, a row an arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from cabench.analysis.figures.grid import BLOCK_GAP, EMPTY, GAP, LINE, MARGIN, REAL, font, picture
from cabench.analysis.grids import Drawn
from cabench.analysis.labels import fold
from cabench.runtime.files import atomic_path

CELL, COLUMNS = 112, 8  # pixels: least cell; prompts side by side
NAME_LETTERS = 22  # in a line of an arm's name
LETTER = 7.5  # pixels, mean width of a letter


def prompted(path: str | Path, arms: Sequence[str], drawn: Drawn) -> list[Path]:
    """A PNG: bands of prompts; in each the real pictures, a row for each arm, the prompts below."""
    rows = [(REAL, drawn.real), *((arm, drawn.samples.get(arm)) for arm in arms)]
    height, width = drawn.real.shape[-2:]
    zoom = max(1, -(-CELL // max(height, width)))
    high, wide = height * zoom, width * zoom
    names = {name: fold(name, NAME_LETTERS) for name, _ in rows}
    lines = [line for folded in names.values() for line in folded]
    left = MARGIN + 10 + int(max(font(True).getlength(line) for line in lines))
    texts = [_folded(*each, wide) for each in zip(drawn.classes, drawn.unseen, strict=True)]
    bands = [range(i, min(i + COLUMNS, len(texts))) for i in range(0, len(texts), COLUMNS)]
    tall = [
        len(rows) * (high + GAP) + LINE * max(len(texts[c]) for c in band) + 2 * BLOCK_GAP
        for band in bands
    ]
    size = left + min(COLUMNS, len(texts)) * (wide + GAP) + MARGIN, 2 * MARGIN + sum(tall)
    page = Image.new("RGB", size, "white")
    draw, y = ImageDraw.Draw(page), MARGIN
    for band, used in zip(bands, tall, strict=True):
        for row, (name, images) in enumerate(rows):
            top = y + row * (high + GAP)
            for line, text in enumerate(names[name]):
                draw.text((MARGIN, top + LINE * line), text, "black", font(name == REAL))
            for place, column in enumerate(band):
                corner = (left + place * (wide + GAP), top)
                if images is None:
                    page.paste(EMPTY, (*corner, corner[0] + wide, corner[1] + high))
                else:
                    page.paste(picture(images[column, 0], zoom), corner)
        below = y + len(rows) * (high + GAP) + 2
        for place, column in enumerate(band):
            for line, text in enumerate(texts[column]):
                where = (left + place * (wide + GAP) + wide // 2, below + LINE * line)
                draw.text(where, text, "black", font(), anchor="ma")
        y += used
    path = Path(path).with_suffix(".png")
    with atomic_path(path) as part:
        page.save(part, format="PNG", optimize=True)
    return [path]


def _folded(prompt: str, unseen: bool, wide: int) -> list[str]:
    """A prompt in lines as wide as its picture."""
    return fold(prompt, int(wide / LETTER)) + (["(unseen)"] if unseen else [])
