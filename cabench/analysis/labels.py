"""How names and numbers are written: titles with direction, decimals, units, folded names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cabench.errors import CabenchError
from cabench.registry import near

SUPPORT = "heldout_loss"  # printed beside every primary metric: it supports, it is not a claim


@dataclass(frozen=True)
class Metric:
    # fmt: off
    name: str                       # key in a record's metrics
    label: str                      # as printed: "KID@2000"
    higher_is_better: bool = False
    scale: float = 1.0              # printed value = stored value x scale
    # fmt: on

    @property
    def title(self) -> str:
        """'KID x10^3 @2000 ↓': label, scale, sample count, the direction of better."""
        base, at, count = self.label.partition("@")
        parts = [base.strip(), scale_text(self.scale), at + count.strip(), self.arrow]
        return " ".join(part for part in parts if part)

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    def is_better(self, difference: float) -> bool:
        return difference > 0 if self.higher_is_better else difference < 0


def scale_text(scale: float) -> str:
    """'' for 1, '(%)' for 100, 'x10^3' for 1000, else 'x<scale>'."""
    if scale == 1:
        return ""
    if scale == 100:
        return "(%)"
    power = math.log10(scale)
    return f"x10^{round(power)}" if math.isclose(power, round(power)) else f"x{scale:g}"


def study_metrics(manifest: dict[str, Any]) -> dict[str, Metric]:
    """The manifest's metrics by name, in its order."""
    return {
        name: Metric(
            name=name,
            label=entry.get("label") or name.replace("_", " "),
            higher_is_better=bool(entry.get("higher_is_better", False)),
            scale=float(entry.get("scale") or 1.0),
        )
        for name, entry in manifest["metrics"].items()
    }


def primary_metric(manifest: dict[str, Any]) -> Metric:
    metrics = study_metrics(manifest)
    name = manifest["primary"]
    if name not in metrics:
        raise CabenchError(
            f"study '{manifest['study']}': primary metric '{name}' is not among its metrics"
            f"{near(name, metrics)}; known: {', '.join(metrics)}"
        )
    return metrics[name]


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
