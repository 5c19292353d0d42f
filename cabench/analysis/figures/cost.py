"""Quality against cost: the primary metric over MACs and over parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from cabench.analysis.figures.arms import LINE, arm_styles, label_ends, spread
from cabench.analysis.figures.style import (
    BOUND,
    FAINT,
    SCREEN,
    Look,
    axis_title,
    finish,
    new_figure,
)
from cabench.analysis.formatting import count_unit, range_text
from cabench.analysis.summary import floor_score
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate

WIDE = 4  # ratio of the largest to the smallest count from which the axis is logarithmic
TITLES = {"macs": "MACs of one forward pass", "params": "parameters"}
SIDE = 0.012  # of the axis: how far apart the marks of arms of equal cost stand
Levels = Mapping[str, Estimate]  # by arm, in printed units


def cost(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw means and intervals over cost; nothing is drawn when no arm has both score and counts.

    Both panels share the metric's axis, so the names at the right apply to both.
    """
    metric = results.primary
    levels = _levels(results)
    if not levels:
        return []
    low, high = _limits(results, levels)
    shown = {arm: e for arm, e in levels.items() if low <= e.mean <= high}
    styles = arm_styles(results, list(levels))
    height = max(4.2 if look.titled else 2.9, 1.4 + look.size * LINE * len(shown))
    with new_figure(8.2 + 0.075 * max(map(len, shown)), height, look) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        panels[0].set_ylim(low, high)
        places, moved = {}, False
        for axes, (count, title) in zip(panels, TITLES.items(), strict=True):
            counts = {arm: getattr(results.costs[arm], count) for arm in shown}
            places = side_by_side(counts)
            moved = moved or places != counts
            _panel(axes, results, shown, places, styles)
            _count_axis(axes, np.array(list(counts.values())), title)
        floor = floor_score(results, metric) * metric.scale
        for axes in panels if low <= floor <= high else []:
            axes.axhline(floor, color=BOUND, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        better = "↑ better" if metric.higher_is_better else "↓ better"
        panels[0].set_ylabel(f"{axis_title(metric.title_without_arrow)}   ({better})")
        ends = {arm: (places[arm], e.mean) for arm, e in shown.items()}
        label_ends(panels[1], ends, styles, look, height)
        text = _caption(results, levels, floor, (low, high), moved)
        return finish(figure, path, look, "Quality against cost", text)


def side_by_side(counts: Mapping[str, float]) -> dict[str, float]:
    """Places on the axis: the counts, where those of several arms are almost equal moved apart."""
    values = np.array(list(counts.values()))
    scaled = np.log(values) if _is_wide(values) else values
    gap = SIDE * (np.ptp(scaled) or abs(scaled[0]) or 1.0)
    low = scaled.min() - gap * len(scaled)
    room = np.ptp(scaled) + 2 * gap * len(scaled)
    places = dict(zip(counts, (scaled - low) / room, strict=True))
    moved = {arm: low + room * place for arm, place in spread(places, gap / room).items()}
    return {
        arm: counts[arm]
        if np.isclose(moved[arm], x, rtol=0, atol=gap / 100)
        else float(np.exp(moved[arm]) if _is_wide(values) else moved[arm])
        for arm, x in zip(counts, scaled, strict=True)
    }


def _is_wide(counts: np.ndarray) -> bool:
    """Whether counts differ several times: their axis is logarithmic."""
    return bool(0 < WIDE * counts.min() < counts.max())


def _levels(results: Results) -> dict[str, Estimate]:
    """The primary metric of the arms that have both a score and counts."""
    metric, design = results.primary, Design.of(results.manifest)
    levels = {}
    for arm, cost in results.costs.items():
        level = design.level(results.by_seed(arm, metric.name) * metric.scale)
        if level.n and np.isfinite([cost.macs, cost.params]).all():
            levels[arm] = level
    return levels


def _limits(results: Results, levels: Levels) -> tuple[float, float]:
    """All seeds of the arms, as much of the intervals as fits, and a lower bound if it is near."""
    arms = [e for arm, e in levels.items() if not results.is_lower_bound(arm)]
    arms = arms or list(levels.values())
    seeds = np.concatenate([e.values.to_numpy(dtype=float) for e in arms])
    low, high = float(seeds.min()), float(seeds.max())
    room = (high - low) or abs(high) or 1.0
    ends = [end for e in arms if e.has_interval for end in (e.low, e.high)]
    ends += [e.mean for e in levels.values() if low - room <= e.mean <= high + room]
    low, high = max(min(low, *ends), low - room), min(max(high, *ends), high + room)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _panel(
    axes: Axes,
    results: Results,
    levels: Levels,
    counts: Mapping[str, float],
    styles: Mapping[str, dict[str, Any]],
) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    for arm, level in levels.items():
        colour, x = styles[arm]["color"], counts[arm]
        if level.has_interval:
            axes.plot([x, x], [level.low, level.high], color=colour, linewidth=1.3, zorder=2)
        is_baseline = arm == results.manifest.baseline
        filled = results.has_native(arm) or is_baseline
        axes.plot(
            x,
            level.mean,
            "s" if is_baseline else "o",
            markersize=6.5 if is_baseline else 5,
            markerfacecolor=colour if filled else "white",
            markeredgecolor=colour,
            zorder=3,
        )


def _count_axis(axes: Axes, counts: np.ndarray, title: str) -> None:
    """Ticks in one unit; a logarithmic axis where counts differ several times."""
    size, unit = count_unit(counts)
    if _is_wide(counts):
        axes.set_xscale("log")
        steps = [m * 10.0**k for k in range(0, 16) for m in (1, 2, 5)]
        ticks = [t for t in steps if counts.min() * 0.7 <= t <= counts.max() * 1.4]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(counts.min() * 0.85, counts.max() * 1.15)
    else:
        axes.locator_params(axis="x", nbins=5)
        axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / size:,g}"))
    axes.set_xlabel(f"{title} ({unit})" if unit else title)


def _caption(
    results: Results, levels: Levels, floor: float, limits: tuple[float, float], moved: bool
) -> str:
    low, high = limits
    n = [level.n for level in levels.values()]
    sequential = results.manifest.design.sequential
    bar = "standard deviation" if sequential else "95 % Student-t interval"
    sentences = [
        f"Mean and {bar} over n = {range_text(n)} seeds."
        if max(n) > 1
        else "One seed: no interval.",
        f"Square: the baseline, {results.manifest.baseline}; filled: with the native method.",
        "Names at the right apply to both panels.",
    ]
    if moved:
        sentences.append("Arms of almost equal cost are drawn side by side.")
    if np.isfinite(floor):
        place = (
            "dashed line"
            if low <= floor <= high
            else f"{floor:z.2g}, outside the panel".replace("-", "−")
        )
        sentences.append(f"Real against other real images: {place}.")
    off = [f"{arm} ({e.mean:z.3g})" for arm, e in levels.items() if not low <= e.mean <= high]
    if off:
        sentences.append(f"Outside the panel: {', '.join(off)}.")
    return " ".join(sentences)
