"""A claim's comparison in every metric of its study, in standard deviations of the difference."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes

from cabench.analysis.figures.style import (
    ALONE,
    FAINT,
    INK,
    NATIVE,
    SCREEN,
    Look,
    axis_title,
    finish,
    new_figure,
)
from cabench.analysis.formatting import effect_decimals, effect_text
from cabench.evidence.claims import Entry
from cabench.evidence.metric import Metric
from cabench.evidence.statistics import Estimate, deviation
from cabench.evidence.verdicts import Evidence

ROW = 0.27  # inches
FARTHEST = 8.0  # standard deviations that the axis shows, at most


def claim(path: str | Path, entry: Entry, look: Look = SCREEN) -> list[Path]:
    """Draw a row per metric: mean, interval and seeds; nothing where no metric has a spread.

    Differences point to the right where the claim holds.
    """
    metrics = entry.results.metrics
    rows = [(part, metrics[part.metric]) for part in entry.in_every_metric if _has_spread(part)]
    if not rows:
        return []
    with new_figure(9.5, 0.9 + ROW * len(rows) + 0.9 * look.titled, look) as figure:
        axes = figure.subplots()
        ends = [_draw(axes, y, *row, entry) for y, row in enumerate(rows)]
        reach = 1.1 * min(FARTHEST, max(1.0, *ends))
        axes.set_xlim(-reach, reach)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        rivals = list(dict.fromkeys(part.sides[1] for part, _ in rows))
        axes.set_yticks(range(len(rows)), [_name(*row, rivals) for row in rows])
        axes.tick_params(axis="y", length=0)
        rival = rivals[0] if len(rivals) == 1 else "rival"
        sides = f"← {rival} better      {entry.own.claim.better} better →"
        axes.set_xlabel(sides, parse_math=False)
        texts = axes.secondary_yaxis("right")
        texts.set_yticks(range(len(rows)), [_number(*row) for row in rows])
        texts.tick_params(axis="y", length=0)
        texts.spines["right"].set_visible(False)
        bar = "confidence sequence" if entry.results.manifest.design.sequential else "t interval"
        text = (
            f"Paired differences in standard deviations over seeds: mean, 95 % {bar}, seeds. "
            "Orange: the claim's metrics. Right: the difference in the metric's own units."
        )
        title = f"{entry.own.claim.id}: {entry.own.claim.says}"
        return finish(figure, path, look, title, text)


def _name(part: Evidence, metric: Metric, rivals: list[str]) -> str:
    """The metric, and the rival where there are several."""
    title = axis_title(metric.title_without_arrow)
    return title if len(rivals) == 1 else f"{title}, against {axis_title(part.sides[1])}"


def _has_spread(part: Evidence) -> bool:
    difference = part.difference
    return difference is not None and difference.n > 1 and deviation(difference.values) > 0


def _draw(axes: Axes, y: int, part: Evidence, metric: Metric, entry: Entry) -> float:
    """Draw a row; returns how far it reaches from zero."""
    effect = _oriented(part, metric)
    own = part.metric in entry.own.claim.metrics
    colour = ALONE if own else NATIVE
    axes.axhline(y, color=FAINT, linewidth=0.5, zorder=0)
    seeds = effect.values.to_numpy()
    axes.plot(seeds, [y - 0.22] * len(seeds), "o", color=colour, markersize=2.2, alpha=0.6)
    if effect.has_interval:
        axes.plot([effect.low, effect.high], [y, y], color=colour, linewidth=1.6, zorder=2)
    axes.plot(effect.mean, y, "o", color=colour, markersize=5, zorder=3)
    ends = [abs(end) for end in (effect.low, effect.high, *seeds) if math.isfinite(end)]
    return float(max(ends))


def _oriented(part: Evidence, metric: Metric) -> Estimate:
    assert part.difference is not None
    sign = 1 if metric.higher_is_better else -1
    return part.difference.scaled(sign / deviation(part.difference.values))


def _number(part: Evidence, metric: Metric) -> str:
    assert part.difference is not None
    effect = part.difference.scaled(metric.scale)
    return f"{effect_text(effect, effect_decimals(effect))}, n = {effect.n}"
