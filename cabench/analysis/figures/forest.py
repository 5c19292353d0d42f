"""Forest plot: each arm's paired difference to the baseline, its interval and its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cabench.analysis.figures.arms import group_colour, row_names, rows_height
from cabench.analysis.figures.style import (
    FAINT,
    INK,
    SCREEN,
    Look,
    axis_title,
    finish,
    new_figure,
)
from cabench.evidence.arms import ArmResult
from cabench.evidence.design import Design
from cabench.evidence.metric import SUPPORT, Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA, Estimate

TIP = 6  # points between names and axis: room for the tip of an interval that ends outside
OFF_SCALE = 6  # an arm farther out than this many times the median arm is an arrow at the edge


def forest(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw the primary metric and the held-out loss side by side, arms in the study's order.

    Nothing is drawn when no arm shares a seed with the baseline.
    """
    names = dict.fromkeys([results.primary.name, SUPPORT])
    metrics = [results.metrics[name] for name in names if name in results.metrics]
    panels_rows = [_rows(results, metric) for metric in metrics]
    rows = panels_rows[0]
    if not any(row.difference.n for row in rows):
        return []
    labels = row_names([row.arm for row in rows], look)
    height = rows_height(labels, 0.29)
    height = 1.75 + height if look.titled else 0.6 + look.size**2 * height
    with new_figure(9.5, height, look) as figure:
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric, of_metric in zip(panels, metrics, panels_rows, strict=True):
            _panel(axes, results, metric, of_metric, look)
        panels[0].set_yticks(range(len(rows)), labels)
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        for axes in panels:
            axes.tick_params(axis="y", length=0, pad=TIP, labelleft=axes is panels[0])
        difference = f"Difference to {results.manifest.baseline}"
        if look.titled:
            title, text = results.manifest.question, f"{difference}, paired by seed"
        else:
            title, text = difference, "Paired by seed"
        return finish(
            figure,
            path,
            look,
            title,
            f"{text}, {_caption(rows, results.manifest.design.sequential)}",
        )


def _rows(results: Results, metric: Metric) -> list[ArmResult]:
    return [row for row in results.compare_arms([metric.name]) if not row.is_baseline]


def _panel(
    axes: Axes, results: Results, metric: Metric, rows: Sequence[ArmResult], look: Look
) -> None:
    design = Design.of(results.manifest)
    effects = [row.difference.scaled(metric.scale) for row in rows]
    low, high = limits(effects, [row.role == "bound" for row in rows])
    axes.set_xlim(low, high)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for y, (row, effect) in enumerate(zip(rows, effects, strict=True)):
        axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0)
        colour = group_colour(results.has_native(row.arm), row.role == "bound")
        if not effect.n:
            _note(axes, low + 0.015 * (high - low), y, "no result", "#777777", "left", look)
        elif not low <= effect.mean <= high:
            _arrow(axes, effect.mean, y, colour, look)
        else:
            joint = design.jointly(effect, row.tests)
            _row(axes, effect, joint, y, colour, filled=row.p_holm < ALPHA)
    better = "better →" if metric.higher_is_better else "← better"
    axes.xaxis.set_major_locator(MaxNLocator(6 if look.titled else 4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"difference in {axis_title(metric.title_without_arrow)}   ({better})")


def _row(axes: Axes, effect: Estimate, joint: Estimate, y: int, colour: str, filled: bool) -> None:
    """Seeds as dots above the line, both intervals, mean; one past the edge ends in a tip."""
    low, high = axes.get_xlim()
    axes.plot(
        effect.values.to_numpy(),
        np.full(effect.n, y - 0.2),
        "o",
        markersize=2.6,
        color=colour,
        alpha=0.65,
        markeredgewidth=0,
        zorder=3,
    )
    for each, width in ((joint, 0.8), (effect, 2.2)):
        if not each.has_interval:
            continue
        ends = [max(each.low, low), min(each.high, high)]
        axes.plot(ends, [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=2)
        for past, edge, tip in ((each.low < low, low, "<"), (each.high > high, high, ">")):
            if past:
                axes.plot(edge, y, tip, color=colour, markersize=5, clip_on=False, zorder=4)
    axes.plot(
        effect.mean,
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
    """Text on a row, on a white ground that interrupts the row's line."""
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


def limits(effects: list[Estimate], bounds: list[bool]) -> tuple[float, float]:
    """The axis: zero, every seed of the arms on scale, and as much of the intervals as fits."""
    inside = [e for e, bound in zip(effects, bounds, strict=True) if e.n and not bound]
    inside = inside or [e for e in effects if e.n]
    if not inside:
        return -1.0, 1.0
    reach = OFF_SCALE * float(np.median([np.abs(e.values.to_numpy()).max() for e in inside]))
    inside = [e for e in inside if abs(e.mean) <= reach] or inside
    seeds = np.concatenate([e.values.to_numpy(dtype=float) for e in inside])
    low, high = min(float(seeds.min()), 0.0), max(float(seeds.max()), 0.0)
    room = (high - low) or 1.0
    ends = [end for e in inside if e.has_interval for end in (e.low, e.high)]
    low = max(min([low, *ends]), low - room)
    high = min(max([high, *ends]), high + room)
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad


def _caption(rows: Sequence[ArmResult], sequential: bool) -> str:
    counts = [row.difference.n for row in rows]
    usual = max(set(counts), key=counts.count)
    fewer = [f"{row.arm}: {row.difference.n}" for row in rows if row.difference.n != usual]
    text = f"n = {usual}" + (f" ({', '.join(fewer)}). " if fewer else ". ")
    if max(counts) < 2:
        text += "One seed: no interval, no test. "
    else:
        bar = "confidence sequence" if sequential else "Student-t interval"
        test = "an anytime-valid" if sequential else "a two-sided"
        tests = max(row.tests for row in rows)
        joint = (
            f"; thin bar: the same for all {tests} arms at once (Bonferroni), where seeds suffice"
            if tests > 1
            else ""
        )
        text += (
            f"Circle: mean; bar: 95 % {bar}{joint}; dots above: single seeds. Filled circle: "
            f"p < .05 in {test} paired t test, after Holm's correction over the arms. "
        )
    return text + "Blue: with the native method; orange: without it; grey: lower bound, not tested."
