"""How figures show arms: a colour and line style each, names beside the axes or the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from cabench.analysis.figures.style import ALONE, BOUND, CYCLE, INK, NATIVE, Look
from cabench.analysis.formatting import fold, range_text
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate

LIGHTNESS, SATURATION = (0.3, 0.45, 0.6, 0.75), (0.95, 0.5)  # of further arms' colours
LINE = 0.155  # inches of height that a direct label needs
THIN = 25  # lines of single seeds of an arm, at most: more hide one another


def group_colour(native: bool, bound: bool = False) -> str:
    """Blue: with the native method; orange: without it; grey: a lower bound."""
    return BOUND if bound else NATIVE if native else ALONE


def arm_styles(results: Results, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and line style by arm: solid with the native method, dashed without it.

    The baseline is black; a lower bound is dotted grey.
    """
    styles: dict[str, dict[str, Any]] = {}
    colours = palette(len(arms))
    used = 0
    for arm in arms:
        if results.is_lower_bound(arm):
            styles[arm] = {"color": BOUND, "linestyle": ":"}
        elif arm == results.manifest.baseline:
            styles[arm] = {"color": INK, "linestyle": "-"}
        else:
            dashes = "-" if results.has_native(arm) else (0, (4, 1.5))
            styles[arm] = {"color": colours[used], "linestyle": dashes}
            used += 1
    return styles


@cache
def palette(count: int) -> list[str]:
    """Colours that all differ: CYCLE, then each time the candidate that is farthest from them."""
    candidates = [
        colour
        for lightness in LIGHTNESS
        for saturation in SATURATION
        for colour in seaborn.husl_palette(30, s=saturation, l=lightness).as_hex()
    ]
    points = np.array([to_rgb(colour) for colour in candidates])
    chosen: list[str] = list(CYCLE)
    taken = np.array([to_rgb(colour) for colour in (*chosen, INK, BOUND)])
    nearest = np.linalg.norm(points[:, None] - taken, axis=2).min(axis=1)
    while len(chosen) < min(count, len(candidates)):
        best = int(nearest.argmax())
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return chosen


def row_names(arms: Sequence[str], look: Look) -> list[str]:
    """Arms' names as the labels of rows, long ones in several lines."""
    return ["\n".join(fold(arm, 30 if look.titled else 24)) for arm in arms]


def rows_height(names: Sequence[str], row: float) -> float:
    """Inches of height that rows take, `row` each and more for names of several lines."""
    return sum(row + 0.13 * name.count("\n") for name in names)


def seeds_text(rows: pd.DataFrame) -> str:
    """'n = 3 seeds', 'n = 2 to 3 seeds', 'one seed': over the arms of a frame."""
    counts = seed_counts(rows)
    return f"n = {range_text(counts)} seeds" if max(counts) > 1 else "one seed"


def seed_counts(rows: pd.DataFrame) -> list[int]:
    """The number of seeds of each arm in a frame."""
    return rows.groupby("arm", sort=False)["seed"].nunique().tolist()


def thin_text(rows: pd.DataFrame) -> str:
    """What the thin lines of a figure are."""
    first = f" (of an arm the first {THIN})" if max(seed_counts(rows)) > THIN else ""
    return f"thin lines: single seeds{first}"


def where(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values."""
    chosen = pd.Series(True, index=frame.index)
    for name, value in values.items():
        chosen &= frame[name] == value
    return frame.loc[chosen]


def draw_lines(
    axes: Axes, rows: pd.DataFrame, value: str, style: dict[str, Any], width: float, size: float
) -> None:
    """Draw one arm's values over images seen: thin lines for seeds, a thick one for their mean.

    The mean is over all seeds; of many, the first ones have a line.
    """
    if rows.empty:
        return
    if len(set(rows["seed"])) > 1:
        thin = _by_seed(rows, value)[:THIN]
        lines = LineCollection(thin, linewidth=0.5, alpha=0.35, zorder=2, **style)
        axes.add_collection(lines)
    mean = mean_over_seeds(rows, value)
    marker = "o" if len(mean) == 1 else ""
    axes.plot(mean.index, mean, linewidth=width, marker=marker, markersize=size, **style)


def _by_seed(rows: pd.DataFrame, value: str) -> list[np.ndarray]:
    """Each seed's points (n, 2): images seen and value."""
    seeds = rows["seed"].to_numpy()
    order = np.argsort(seeds, kind="stable")
    points = rows[["images", value]].to_numpy(dtype=float)[order]
    return np.split(points, np.flatnonzero(np.diff(seeds[order])) + 1)


def mean_over_seeds(rows: pd.DataFrame, value: str) -> pd.Series:
    """The mean over seeds, by images, at the points that most seeds have reached."""
    groups = rows.groupby("images")[value]
    counts = pd.Series(groups.count())
    return pd.Series(groups.mean()).loc[counts == counts.max()]


# ---- names beside their points -----------------------------------------------------------------


def draw_estimates(
    axes: Axes, estimates: dict[float, Estimate], style: dict[str, Any]
) -> list[tuple[float, float]]:
    """Draw an arm's means and intervals over x; return the points of its line."""
    present = {x: each for x, each in estimates.items() if each.n}
    if not present:
        return []
    means = [each.mean for each in present.values()]
    axes.plot(list(present), means, marker="o", markersize=3, linewidth=1.4, **style)
    for x, each in present.items():
        if each.has_interval:
            axes.plot([x, x], [each.low, each.high], color=style["color"], linewidth=0.9)
    return list(zip(present, means, strict=True))


def label_ends(
    axes: Axes,
    ends: dict[str, tuple[float, float]],
    styles: dict[str, dict[str, Any]],
    look: Look,
    height: float,
) -> None:
    """Write names to the right of a panel, each tied to its point, moved apart where too close.

    `ends`: each arm's point in data coordinates; `height`: of the figure, in inches.
    """
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    height -= 1.3 if look.titled else 0.75  # title, caption and axis
    places = {arm: (y - bottom) / (top - bottom) for arm, (_, y) in ends.items()}
    for arm, place in spread(places, look.size * LINE / height).items():
        colour = styles[arm]["color"]
        axes.annotate(
            arm,
            xy=ends[arm],
            xytext=(1.05, place),
            textcoords=axes.transAxes,
            va="center",
            fontsize=8 * look.size,
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 1,
            },
        )


@dataclass
class _Group:
    names: list[str]
    centre: float


def spread(places: dict[str, float], gap: float) -> dict[str, float]:
    """Positions in the same order, at least `gap` apart, near their places, within [0, 1]."""
    groups: list[_Group] = []
    for name in sorted(places, key=lambda name: places[name]):
        groups.append(_Group([name], places[name]))
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], gap):
            upper, lower = groups.pop(), groups.pop()
            names = lower.names + upper.names
            groups.append(_Group(names, sum(places[n] for n in names) / len(names)))
        half = gap * (len(groups[-1].names) - 1) / 2
        groups[-1].centre = min(max(groups[-1].centre, half), max(1 - half, half))
    return {
        name: group.centre + gap * (i - (len(group.names) - 1) / 2)
        for group in groups
        for i, name in enumerate(group.names)
    }


def _overlap(lower: _Group, upper: _Group, gap: float) -> bool:
    return upper.centre - lower.centre < gap * (len(lower.names) + len(upper.names)) / 2
