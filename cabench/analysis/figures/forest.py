"""Forest plot: each arm's paired difference to the baseline, its interval and its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cabench.analysis.figures.style import (
    FAINT,
    INK,
    SCREEN,
    Look,
    axis_title,
    finish,
    ladder,
    sheet,
)
from cabench.analysis.labels import fold
from cabench.evidence.frame import added_arms, by_seed, has_native, is_bound, study_arms, tidy
from cabench.evidence.metric import SUPPORT, Metric, primary_metric, study_metrics
from cabench.evidence.statistics import ALPHA, Estimate, holm_apart, paired_difference

OFF_SCALE = 6  # an arm farther out than this many times the median arm is an arrow at the edge


def forest(
    path: str | Path, manifest: dict[str, Any], records: dict[str, Any], look: Look = SCREEN
) -> list[Path]:
    """The primary metric and the held-out loss side by side, arms in study order."""
    baseline, frame = manifest["baseline"], tidy(manifest, records)
    arms = [arm["name"] for arm in study_arms(manifest) if arm["name"] != baseline]
    first, metrics = primary_metric(manifest), study_metrics(manifest)
    shown = [first] + [metrics[m] for m in (SUPPORT,) if m in metrics and m != first.name]
    found = {
        m.name: [
            paired_difference(by_seed(frame, a, m.name), by_seed(frame, baseline, m.name))
            for a in arms
        ]
        for m in shown
    }
    if not any(e.n for e in found[first.name]):
        return []
    names = ["\n".join(fold(arm, 30 if look.titled else 24)) for arm in arms]
    rows = sum(0.29 + 0.13 * name.count("\n") for name in names)
    height = 1.75 + rows if look.titled else 0.6 + look.size**2 * rows
    with sheet(9.5, height, look) as figure:
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, shown, strict=True):
            _panel(axes, manifest, metric, arms, found[metric.name], look)
        panels[0].set_yticks(range(len(arms)), names)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        for axes in panels:
            axes.tick_params(axis="y", length=0, labelleft=axes is panels[0])
        title = f"Difference to {baseline}"
        title = f"{manifest['question']} {title}" if look.titled else title
        return finish(figure, path, look, title, _small_print(found[first.name], arms))


def _panel(
    axes: Axes,
    manifest: dict[str, Any],
    metric: Metric,
    arms: list[str],
    found: list[Estimate],
    look: Look,
) -> None:
    bounds = [is_bound(manifest, arm) for arm in arms]
    ps = [float("nan") if b else e.p for e, b in zip(found, bounds, strict=True)]
    added = added_arms(manifest)
    adjusted = holm_apart(ps, [arm in added for arm in arms])
    low, high = _limits(found, bounds, metric.scale)
    axes.set_xlim(low, high)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for y, (arm, estimate, bound, p) in enumerate(zip(arms, found, bounds, adjusted, strict=True)):
        axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0)
        colour = ladder(has_native(manifest, arm), bound)
        mean = estimate.mean * metric.scale
        if not estimate.n:
            _note(axes, low + 0.015 * (high - low), y, "no result", "#777777", "left", look)
        elif not low <= mean <= high:
            _arrow(axes, mean, y, colour, look)
        else:
            _row(axes, estimate, metric.scale, y, colour, filled=p < ALPHA)
    better = "better →" if metric.higher_is_better else "← better"
    axes.xaxis.set_major_locator(MaxNLocator(6 if look.titled else 4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"difference in {axis_title(metric.title[:-2])}   ({better})")


def _row(axes: Axes, estimate: Estimate, scale: float, y: int, colour: str, filled: bool) -> None:
    """Seeds as dots above the line, interval, mean; intervals past the edge end in a tip."""
    low, high = axes.get_xlim()
    left, right = estimate.low * scale, estimate.high * scale
    axes.plot(
        estimate.values * scale,
        np.full(estimate.n, y - 0.2),
        "o",
        markersize=2.6,
        color=colour,
        alpha=0.65,
        markeredgewidth=0,
        zorder=3,
    )
    if left == left:
        ends = [max(left, low), min(right, high)]
        axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
        for past, edge, tip in ((left < low, low, "<"), (right > high, high, ">")):
            if past:
                axes.plot(edge, y, tip, color=colour, markersize=5, clip_on=False, zorder=4)
    axes.plot(
        estimate.mean * scale,
        y,
        "o",
        markersize=5.5,
        markeredgecolor=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=1.3,
        zorder=4,
    )


def _arrow(axes: Axes, mean: float, y: int, colour: str, look: Look) -> None:
    """An arm off the scale: an arrow at the edge and its number."""
    low, high = axes.get_xlim()
    right = mean > high
    text = f"{mean:+.3g} →" if right else f"← {mean:+.3g}"
    _note(axes, high if right else low, y, text, colour, "right" if right else "left", look)


def _note(axes: Axes, x: float, y: int, text: str, colour: str, side: str, look: Look) -> None:
    """A word on a row, the row's line interrupted behind it."""
    axes.text(
        x,
        y,
        text,
        ha=side,
        va="center",
        fontsize=8 * look.size,
        color=colour,
        zorder=3,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _limits(found: list[Estimate], bounds: list[bool], scale: float) -> tuple[float, float]:
    """A range with zero, every seed of the arms on scale, and what it can of the intervals."""
    inside = [e for e, bound in zip(found, bounds, strict=True) if e.n and not bound]
    inside = inside or [e for e in found if e.n]
    if not inside:
        return -1.0, 1.0
    reach = OFF_SCALE * float(np.median([e.values.abs().max() for e in inside]))
    inside = [e for e in inside if abs(e.mean) <= reach] or inside
    seeds = np.concatenate([e.values.to_numpy() for e in inside])
    low, high = min(seeds.min(), 0.0), max(seeds.max(), 0.0)
    room = (high - low) or 1.0 / scale
    ends = [end for e in inside for end in (e.low, e.high) if end == end]
    low = max(min([low, *ends]), low - room)
    high = min(max([high, *ends]), high + room)
    pad = 0.06 * (high - low)
    return (low - pad) * scale, (high + pad) * scale


def _small_print(found: list[Estimate], arms: list[str]) -> str:
    counts = [e.n for e in found]
    usual = max(set(counts), key=counts.count)
    fewer = [f"{arm} {n}" for arm, n in zip(arms, counts, strict=True) if n != usual]
    text = f"Paired by seed, n = {usual}" + (f" (but {', '.join(fewer)})" if fewer else "") + ". "
    if max(counts) < 2:
        text += "One seed: no interval, no test. "
    else:
        text += "Circle: mean; bar: 95 % Student-t interval; dots above: single seeds. "
        text += "Filled: p < .05, paired t, Holm over the arms of a panel. "
    return text + "Blue: with the native method; orange: without; grey: lower bound, not tested."
