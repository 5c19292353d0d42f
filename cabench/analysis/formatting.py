"""How numbers and names are written: decimals, units, p values, names broken into lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np

from cabench.evidence.statistics import Estimate

NONE = "-"  # a cell without a value
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PIECE = r"[^-+/, ]*[-+/, ]?"  # of a name that is folded


def decimals(values: Iterable[float], halves: Iterable[float], digits: int = 3) -> int:
    """A column's decimals: two digits of the median half-width, `digits` of the median value."""
    return min(max(_places(halves, 2), _places(values, digits)), 6)


def _places(numbers: Iterable[float], digits: int) -> int:
    sizes = np.abs(np.asarray(list(numbers), dtype=float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not len(sizes):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(np.median(sizes))))


def effect_decimals(effect: Estimate) -> int:
    """Decimals of a single difference and its interval."""
    return decimals([effect.mean], [effect.half], digits=2)


def effect_text(effect: Estimate, places: int) -> str:
    """'-0.20 [-0.32, -0.09]': a difference and its interval, where it has one."""
    text = f"{effect.mean:+z.{places}f}"
    if not effect.has_interval:
        return text
    return f"{text} [{effect.low:+z.{places}f}, {effect.high:+z.{places}f}]"


def level_text(level: Estimate, places: int) -> str:
    """'2.45 ± 0.07': a mean and half its interval, where it has one."""
    text = f"{level.mean:.{places}f}"
    return f"{text} ± {level.half:.{places}f}" if level.has_interval else text


def count_unit(counts: Iterable[float]) -> tuple[float, str]:
    """One unit for a whole column of counts: (1e9, 'G'), (1e6, 'M'), (1e3, 'K') or (1, '')."""
    known = [count for count in counts if count > 0]
    middle = np.median(known) if known else 0
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if middle >= size:
            return size, unit
    return 1.0, ""


def short_number(value: float) -> str:
    """'3,890', '1.76': three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,g}"


def power_text(value: float) -> str:
    """'1.2 × 10¹²': a finite number with one decimal."""
    factor, power = f"{value:.1e}".split("e")
    return f"{factor} × 10{str(int(power)).translate(RAISED)}"


def p_text(p: float) -> str:
    """'p = .012', 'p < .001'; 'p = ?' where there is none."""
    if math.isnan(p):
        return "p = ?"
    if p < 0.001:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".", 1)


def range_text(counts: Iterable[int]) -> str:
    """'3', or '2 to 3' where counts differ."""
    low, high = min(counts := list(counts)), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def pieces(name: str) -> list[str]:
    """The parts of a name that `fold` breaks only where a line is shorter than they are."""
    return [piece.rstrip() for piece in re.findall(PIECE, name)]


def fold(name: str, width: int) -> list[str]:
    """A name in lines of at most `width` letters, broken after - + / , or a space if possible."""
    lines, line = [], ""
    for piece in re.findall(PIECE, name):
        while len(piece.rstrip()) > width:  # it has no place to break
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
