"""The ladder: scores over training MACs, and effects in the logarithm of the score."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from cabench.analysis.figures.arms import LINE, arm_styles, label_ends
from cabench.analysis.figures.style import (
    FAINT,
    INK,
    SCREEN,
    Look,
    axis_title,
    finish,
    new_figure,
)
from cabench.analysis.formatting import count_unit, short_number
from cabench.evidence.ladder import Ladder


def ladder_figure(path: str | Path, ladder: Ladder, look: Look = SCREEN) -> list[Path]:
    """Draw score and effect of every arm that runs on all rungs."""
    results = ladder.top.results
    metric, arms = results.primary, ladder.arms
    styles = arm_styles(results, arms)
    rungs = [rung.macs(ladder.baseline) for rung in ladder.rungs]
    size, unit = count_unit(rungs)
    width, height = 8.2 + 0.075 * max(map(len, arms)), max(4.2, 1.4 + LINE * len(arms))
    with new_figure(width, height, look) as figure:
        left, right = figure.subplots(1, 2)
        ends: dict[str, tuple[float, float]] = {}
        for arm in arms:
            macs = [rung.macs(arm) for rung in ladder.rungs]
            scores = [rung.order()[arm] * metric.scale for rung in ladder.rungs]
            left.plot(macs, scores, marker="o", markersize=3, linewidth=1.4, **styles[arm])
            if arm == ladder.baseline:
                continue
            effects = [rung.effect(arm) for rung in ladder.rungs]
            percent = [100 * math.expm1(effect.mean) for effect in effects]
            right.plot(macs, percent, marker="o", markersize=3, linewidth=1.4, **styles[arm])
            for x, effect in zip(macs, effects, strict=True):
                if effect.has_interval:
                    ends_of = [100 * math.expm1(end) for end in (effect.low, effect.high)]
                    right.plot([x, x], ends_of, color=styles[arm]["color"], linewidth=0.9)
            ends[arm] = (macs[-1], percent[-1])
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter(NullFormatter())
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(rungs, [short_number(macs / size) for macs in rungs])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(f"{unit}MACs of a training of {ladder.baseline}")
            axes.grid(axis="y", color=FAINT, linewidth=0.4)
        label_ends(right, ends, styles, look, height)
        left.set_title(f"{axis_title(metric.title_without_arrow)} (lower is better)")
        right.set_title(f"difference to {ladder.baseline} (%), paired by seed")
        return finish(
            figure,
            path,
            look,
            "Score over training compute",
            "Means over seeds; bars: 95 % intervals of the difference in log score. Points of an "
            "arm lie at its own MACs: three forward passes per training image. "
            f"Black: {ladder.baseline}.",
        )
