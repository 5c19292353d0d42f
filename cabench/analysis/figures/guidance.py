"""What guidance changes: quality against the condition's metric, and the arms' differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cabench.analysis.figures.arms import LINE, arm_styles, draw_estimates, label_ends
from cabench.analysis.figures.style import (
    FAINT,
    INK,
    SCREEN,
    Look,
    axis_title,
    directed_title,
    finish,
    new_figure,
)
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
    scores = {arm: _scores(results, arm, names, results.primary) for arm in results.contenders}
    arms = [arm for arm in scores if len(scores[arm][next(iter(names))])]
    baseline = results.manifest.baseline
    if baseline not in arms:
        return []
    condition = results.metrics.get(_condition(results))
    styles, primary = arm_styles(results, arms), results.primary
    design = Design.of(results.manifest)
    low, line = (4.2, LINE) if look.titled else (2.9, look.size * LINE)
    width, height = 8.2 + 0.075 * max(map(len, arms)), max(low, 1.4 + line * len(arms))
    with new_figure(width, height, look) as figure:
        left, right = figure.subplots(1, 2)
        ends: dict[str, tuple[float, float]] = {}
        for i, arm in enumerate(arms):
            x, y = list(names), _means(scores[arm])
            if condition is not None:
                x = _means(_scores(results, arm, names, condition))
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
                effects = {
                    value + shift: design.difference(ours, base)
                    for (value, ours), base in zip(
                        scores[arm].items(), scores[baseline].values(), strict=True
                    )
                }
                if points := draw_estimates(right, effects, styles[arm]):
                    ends[arm] = points[-1]
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        right.set_xticks(list(names), [f"{value:g}" for value in names])
        right.set_xlabel("guidance")
        left.set_xlabel("guidance" if condition is None else directed_title(condition))
        left.set_ylabel(directed_title(primary))
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
    results: Results, arm: str, names: dict[float, str], metric: Metric
) -> dict[float, pd.Series]:
    """By guidance: the printed values of the seeds that have all values of guidance."""
    columns = {value: results.by_seed(arm, metric.name + name) for value, name in names.items()}
    seeds = set.intersection(*(set(column.index) for column in columns.values()))
    return {v: pd.Series(c.loc[c.index.isin(seeds)]) * metric.scale for v, c in columns.items()}


def _means(scores: dict[float, pd.Series]) -> list[float]:
    return [float(np.mean(column)) for column in scores.values()]
