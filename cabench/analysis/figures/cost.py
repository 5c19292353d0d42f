"""Quality against cost: the primary metric over MACs and over parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from cabench.analysis.figures.curves import LINE, arm_styles, label_ends
from cabench.analysis.figures.style import (
    BOUND,
    FAINT,
    SCREEN,
    Look,
    axis_title,
    finish,
    sheet,
)
from cabench.analysis.labels import count_unit
from cabench.analysis.summary import floor_score
from cabench.evidence.frame import by_seed, costs, has_native, is_bound, study_arms, tidy
from cabench.evidence.metric import primary_metric
from cabench.evidence.statistics import Estimate, mean_interval

WIDE = 4  # largest over smallest count: from here on the axis is logarithmic
TITLES = {"macs": "MACs of one forward", "params": "parameters"}


def cost(
    path: str | Path, manifest: dict[str, Any], records: dict[str, Any], look: Look = SCREEN
) -> list[Path]:
    """Means and 95 % intervals; nothing is written when no arm has both score and counts.

    Both panels share the metric's axis, so that the names at the right hold for both.
    """
    metric, frame = primary_metric(manifest), tidy(manifest, records)
    table = costs(manifest, records).set_index("arm")
    found = {
        arm: mean_interval(by_seed(frame, arm, metric.name) * metric.scale)
        for arm in (a["name"] for a in study_arms(manifest))
        if table.loc[arm, list(TITLES)].notna().all()
    }
    found = {arm: estimate for arm, estimate in found.items() if estimate.n}
    if not found:
        return []
    low, high = _limits(manifest, found)
    off = [arm for arm, e in found.items() if not low <= e.mean <= high]
    shown = {arm: e for arm, e in found.items() if arm not in off}
    styles = arm_styles(manifest, list(found))
    label = 0.075 * max(map(len, shown))
    height = max(4.2 if look.titled else 2.9, 1.4 + look.size * LINE * len(shown))
    with sheet(8.2 + label, height, look) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        panels[0].set_ylim(low, high)
        for axes, count in zip(panels, TITLES, strict=True):
            _panel(axes, manifest, shown, table[count], styles)
            _count_axis(axes, table.loc[list(shown), count].to_numpy(), TITLES[count])
        floor = floor_score(manifest, records, metric) * metric.scale
        for axes in panels if low <= floor <= high else []:
            axes.axhline(floor, color=BOUND, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        better = "↑ better" if metric.higher_is_better else "↓ better"
        panels[0].set_ylabel(f"{axis_title(metric.title[:-2])}   ({better})")
        ends = {arm: (table.loc[arm, "params"], e.mean) for arm, e in shown.items()}
        label_ends(panels[1], ends, styles, look)
        text = _small_print(manifest, found, off, floor, (low, high))
        return finish(figure, path, look, "Quality against cost", text)


def _limits(manifest: dict[str, Any], found: dict[str, Estimate]) -> tuple[float, float]:
    """Every arm's seeds, what it can of the intervals; a bound only when near."""
    arms = [e for arm, e in found.items() if not is_bound(manifest, arm)] or list(found.values())
    seeds = np.concatenate([e.values.to_numpy() for e in arms])
    low, high = seeds.min(), seeds.max()
    room = (high - low) or abs(high) or 1.0
    ends = [end for e in arms for end in (e.low, e.high) if end == end]
    ends += [e.mean for e in found.values() if low - room <= e.mean <= high + room]
    low, high = max(min(low, *ends), low - room), min(max(high, *ends), high + room)
    pad = 0.05 * (high - low)
    return low - pad, high + pad


def _panel(
    axes: Axes,
    manifest: dict[str, Any],
    found: dict[str, Estimate],
    counts: Any,
    styles: dict[str, Any],
) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    for arm, e in found.items():
        colour, x = styles[arm]["color"], counts[arm]
        if e.low == e.low:
            axes.plot([x, x], [e.low, e.high], color=colour, linewidth=1.3, zorder=2)
        baseline = arm == manifest["baseline"]
        filled = has_native(manifest, arm) or baseline
        axes.plot(
            x,
            e.mean,
            "s" if baseline else "o",
            markersize=6.5 if baseline else 5,
            markerfacecolor=colour if filled else "white",
            markeredgecolor=colour,
            zorder=3,
        )


def _count_axis(axes: Axes, counts: np.ndarray, title: str) -> None:
    """Ticks in one unit; logarithmic where sizes differ several times."""
    size, unit = count_unit(counts)
    if counts.min() > 0 and counts.max() > WIDE * counts.min():
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


def _small_print(
    manifest: dict[str, Any],
    found: dict[str, Estimate],
    off: list[str],
    floor: float,
    limits: tuple[float, float],
) -> str:
    n = [e.n for e in found.values()]
    seeds = f"{min(n)}" if min(n) == max(n) else f"{min(n)} to {max(n)}"
    text = (
        f"Mean and 95 % Student-t interval over n = {seeds} seeds. "
        if max(n) > 1
        else ("One seed: no interval. ")
    )
    text += f"Square: the baseline, {manifest['baseline']}; filled: with the native method. "
    text += "A name's colour and height hold in both panels. "
    if floor == floor:
        low, high = limits
        where = "dashed line" if low <= floor <= high else f"{floor:z.2g}, off the panel"
        text += f"Real pictures against real ones: {where}. "
    if off:
        text += f"Off the panel: {', '.join(f'{arm} ({found[arm].mean:z.3g})' for arm in off)}."
    return text.strip()
