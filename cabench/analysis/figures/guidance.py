"""What guidance changes: quality against the condition's metric, and the arms' differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cabench.analysis.figures.arms import LINE, arm_styles, label_ends
from cabench.analysis.figures.style import FAINT, INK, SCREEN, Look, axis_title, finish, new_figure
from cabench.analysis.summary import guidance_values
from cabench.evidence.design import Design
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results

CONDITION = "condition_accuracy"
LEAST = 3  # values of guidance, with the primary one
SIDE = 0.03  # shift of an arm's points against the next arm's


def guidance(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw both panels; nothing below three values of guidance on the same seeds."""
    names = _names(results)
    if len(names) < LEAST:
        return []
    arms = [a for a in results.contenders if any(map(len, _scores(results, a, names).values()))]
    baseline = results.manifest.baseline
    if baseline not in arms:
        return []
    condition = results.metrics.get(_condition(results))
    styles, primary = arm_styles(results, arms), results.primary
    low, line = (4.2, LINE) if look.titled else (2.9, look.size * LINE)
    width, height = 8.2 + 0.075 * max(map(len, arms)), max(low, 1.4 + line * len(arms))
    with new_figure(width, height, look) as figure:
        left, right = figure.subplots(1, 2)
        ends: dict[str, tuple[float, float]] = {}
        for i, arm in enumerate(arms):
            x, y = list(names), _means(results, arm, names, primary)
            if condition is not None:
                x = _means(results, arm, names, condition)
            left.plot(x, y, marker="o", markersize=3.5, linewidth=1.4, **styles[arm])
            if arm == baseline and condition is not None:
                for value, each_x, each_y in zip(names, x, y, strict=True):
                    left.annotate(
                        f"{value:g}",
                        (each_x, each_y),
                        (4, 4),
                        textcoords="offset points",
                        fontsize=7,
                    )
            if arm != baseline:
                shift = SIDE * (i - (len(arms) - 1) / 2)
                points = _differences(right, results, arm, names, shift, styles[arm])
                if points:
                    ends[arm] = points[-1]
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        right.set_xticks(list(names), [f"{value:g}" for value in names])
        right.set_xlabel("guidance")
        left.set_xlabel("guidance" if condition is None else _titled(condition))
        left.set_ylabel(_titled(primary))
        right.set_ylabel(axis_title(primary.title_without_arrow))
        right.set_title(f"difference to {baseline}, paired by seed")
        for axes in (left, right):
            axes.grid(axis="y", color=FAINT, linewidth=0.4)
        label_ends(right, ends, styles, look, height)
        sequential = results.manifest.design.sequential
        what = "confidence sequences" if sequential else "intervals"
        text = (
            "Mean over the seeds that have samples at every guidance; the same networks and noise. "
            f"Numbers: guidance of {baseline}'s points. Differences with 95 % {what}."
        )
        return finish(figure, path, look, "Score by guidance", text)


def _titled(metric: Metric) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    return f"{axis_title(metric.title_without_arrow)} ({better} is better)"


def _names(results: Results) -> dict[float, str]:
    """Guidance -> the suffix of its metrics: '' of the primary scores, '/g2'; ascending."""
    protocols = results.protocols()
    values = {float(value): f"/g{value}" for value in guidance_values(results.frame["metric"])}
    return dict(sorted((values | {protocols[0].guidance: ""}).items())) if protocols else {}


def _condition(results: Results) -> str:
    """The metric of the condition: the claims' other one, else condition accuracy."""
    claimed = [name for claim in results.manifest.claims for name in claim.metrics]
    others = [name for name in claimed if name != results.primary.name and name in results.metrics]
    return next(iter(others), CONDITION)


def _scores(
    results: Results, arm: str, names: dict[float, str], metric: str | None = None
) -> dict[float, pd.Series]:
    """By guidance: the stored values of the seeds that have all values of guidance."""
    base = metric or results.primary.name
    columns = {value: results.by_seed(arm, base + name) for value, name in names.items()}
    seeds = set.intersection(*(set(column.index) for column in columns.values()))
    return {v: pd.Series(c.loc[c.index.isin(seeds)]) for v, c in columns.items()}


def _means(results: Results, arm: str, names: dict[float, str], metric: Metric) -> list[float]:
    scores = _scores(results, arm, names, metric.name).values()
    return [float(np.mean(column)) * metric.scale for column in scores]


def _differences(
    axes: Axes,
    results: Results,
    arm: str,
    names: dict[float, str],
    shift: float,
    style: dict[str, Any],
) -> list[tuple[float, float]]:
    """Draw an arm's differences to the baseline, on shared seeds; returns the points."""
    design, scale = Design.of(results.manifest), results.primary.scale
    ours, base = (_scores(results, a, names) for a in (arm, results.manifest.baseline))
    xs: Sequence[float] = [value + shift for value in names]
    effects = [design.difference(ours[value], base[value]).scaled(scale) for value in names]
    if not effects[0].n:
        return []
    axes.plot(xs, [e.mean for e in effects], marker="o", markersize=3, linewidth=1.4, **style)
    for x, effect in zip(xs, effects, strict=True):
        if effect.has_interval:
            axes.plot([x, x], [effect.low, effect.high], color=style["color"], linewidth=0.9)
    return [(x, effect.mean) for x, effect in zip(xs, effects, strict=True)]
