"""How names and numbers are written: titles with direction, decimals, units, folded names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np


def decimals(values: Iterable[float], halves: Iterable[float], digits: int = 3) -> int:
    """A column's decimals: two digits of the median half-width, `digits` of the median value."""
    wanted = [_places(halves, 2), _places(values, digits)]
    return min(max(wanted), 6)


def _places(numbers: Iterable[float], digits: int) -> int:
    sizes = np.abs(np.asarray(list(numbers), dtype=float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not len(sizes):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(np.median(sizes))))


def count_unit(counts: Iterable[float]) -> tuple[float, str]:
    """One unit for a whole column of counts, so that rows compare: (1e6, 'M') and the like."""
    known = [count for count in counts if count == count and count > 0]
    middle = np.median(known) if known else 0
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if middle >= size:
            return size, unit
    return 1.0, ""


def p_text(p: float) -> str:
    """'p = .012', 'p < .001'."""
    if p != p:
        return "p = ?"
    if p < 0.001:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".", 1)


def fold(name: str, width: int) -> list[str]:
    """A long name in lines of at most `width`, broken after - + / , or a space if it can be."""
    lines, line = [], ""
    for piece in re.findall(r"[^-+/, ]*[-+/, ]?", name):
        while len(piece.rstrip()) > width:  # no place to break: cut it
            if line:
                lines.append(line.rstrip())
                line = ""
            lines.append(piece[:width])
            piece = piece[width:]
        if line and len((line + piece).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    if line.strip():
        lines.append(line.rstrip())
    return lines or [""]
