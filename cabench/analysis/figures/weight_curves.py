"""Generated weights during training: size, spread and rank, one column per kind of site."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from cabench.analysis.figures.arms import (
    LINE,
    arm_styles,
    draw_lines,
    seed_counts,
    seeds_text,
    thin_text,
    where,
)
from cabench.analysis.figures.curves import thousands
from cabench.analysis.figures.style import FAINT, SCREEN, Look, finish, new_figure
from cabench.analysis.training_curves import side_by_side, weight_frame
from cabench.evidence.results import Results

PANELS = {
    "ratio": "generated\n/ static",
    "spread_class": "spread over\nclasses",
    "spread_time": "spread over\ntimesteps",
    "share_both": "share of\ninteraction",
    "step": "step, generated\n/ static",
    "effective_rank": "effective\nrank",
}
STEPS = ((1, 2, 5), (1, 3), (1,))  # of a decade, at ticks of a logarithmic scale
NEGLIGIBLE = 1e4  # values this many times below the largest lie outside their panel
MEASURES = (
    "Of the EMA model, mean over the layers of a kind. Generated / static: Frobenius norms, the "
    "generated one a mean over conditions (classes x timesteps). Spread: RMS distance of generated "
    "weights from their mean over the classes at one timestep (or over the timesteps at one "
    "class), divided by the static norm. Effective rank: exp of the entropy of the normalised "
    "squared singular values of the matrix [conditions x generated weights], centred over "
    "conditions; at most the number of conditions minus one."
)
LETTER = 0.069  # inches of width of a letter in the legend
Styles = dict[str, dict[str, Any]]


def weight_curves(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw measures (rows) by site (columns), a line per arm; nothing without generators."""
    rows = with_ratio(weight_frame(results))
    if rows.empty:
        return []
    sites, measures = (list(rows[name].unique()) for name in ("site", "measure"))
    panels_of = {m: title for m, title in PANELS.items() if m in measures}
    styles = arm_styles(results, results.arms)  # the same colours as in the figure of losses
    present, end = set(rows["arm"].unique()), max(rows["images"])
    arms = [arm for arm in results.arms if arm in present]
    width = look.width or max(6.5, 1.2 + 1.5 * len(sites))
    across = max(1, int((width - 0.3) / (look.size * LETTER * (max(map(len, arms)) + 7))))
    panel, legend = 1.15, look.size * (0.2 + LINE * ceil(len(arms) / across))
    height = len(panels_of) * panel + legend + (1.7 if look.titled else 0.6)
    with new_figure(width, height, look) as figure:
        ratios = [panel] * len(panels_of) + [legend]
        lines = dict(tuple(rows.groupby(["measure", "site", "arm"], sort=False)))
        grid = figure.add_gridspec(len(panels_of) + 1, len(sites), height_ratios=ratios)
        for row, (measure, title) in enumerate(panels_of.items()):
            panels: list[Axes] = []
            for column, site in enumerate(sites):
                shared = panels[0] if panels else None
                axes = figure.add_subplot(grid[row, column], sharey=shared)
                panels.append(axes)
                for arm in arms:
                    if (line := lines.get((measure, site, arm))) is not None:
                        draw_lines(axes, line, "value", styles[arm], 1.3, 3)
                _dress(axes, end, bottom=row == len(panels_of) - 1)
                if row == 0:
                    axes.set_title(site, parse_math=False)
                axes.tick_params(labelleft=column == 0)
            panels[0].set_ylabel(title)
            _scale(panels[0], measure, where(rows, measure=measure)["value"].to_numpy(dtype=float))
        _legend(figure.add_subplot(grid[-1, :]), arms, styles, across, look)
        figure.align_ylabels()
        return finish(figure, path, look, "Generated weights during training", _caption(rows))


def with_ratio(rows: pd.DataFrame) -> pd.DataFrame:
    """The drawn measures: `ratio`, generated / static norm, and `step`, the same of one step."""
    pairs = [
        quotient(rows, "ratio", "generated", "static"),
        quotient(rows, "step", "step_generated", "step_static"),
    ]
    others = rows.loc[rows["measure"].isin(list(PANELS))]
    return pd.concat([*pairs, others], ignore_index=True)


def quotient(rows: pd.DataFrame, name: str, upper: str, lower: str) -> pd.DataFrame:
    """A measure divided by another, where that is positive, as a measure of its own."""
    over, under = side_by_side(rows, upper, lower)
    value = over["value"].to_numpy() / np.where(under > 0, under, np.nan)
    ratios = over.assign(measure=name, value=value)
    return ratios.loc[~np.isnan(value)]


def _scale(axes: Axes, measure: str, values: np.ndarray) -> None:
    """A linear scale for ranks and shares, a logarithmic one for ratios, which differ widely."""
    if measure in ("effective_rank", "share_both"):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return
    shown = values[values > values.max(initial=0) / NEGLIGIBLE]
    if not len(shown):
        return
    axes.set_yscale("log")
    low, high = float(shown.min()) / 1.3, float(shown.max()) * 1.3
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(4) if high < 6 * low else _of_decades(low, high))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def _of_decades(low: float, high: float) -> FixedLocator:
    """Ticks at 1, 2 and 5 of each decade; at 1 and 3, or at 1, where these are over four."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in STEPS:
        ticks = [step * 10.0**k for k in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 4:
            break
    return FixedLocator(ticks)


def _dress(axes: Axes, end: int, bottom: bool) -> None:
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.xaxis.set_major_formatter(thousands)
    axes.tick_params(labelbottom=bottom)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    if bottom:
        axes.set_xlabel("images seen")


def _legend(axes: Axes, arms: Sequence[str], styles: Styles, across: int, look: Look) -> None:
    axes.axis("off")
    handles = [Line2D([], [], linewidth=1.5, label=arm, **styles[arm]) for arm in arms]
    axes.legend(
        handles=handles,
        loc="upper left",
        ncols=across,
        frameon=False,
        borderaxespad=0,
        fontsize=8 * look.size,
        handlelength=2.2,
        columnspacing=1.5,
        borderpad=0,
    )


def _caption(rows: pd.DataFrame) -> str:
    seeds = f"Thick lines: mean over {seeds_text(rows)}; {thin_text(rows)}."
    return (
        f"{MEASURES} "
        f"{seeds if max(seed_counts(rows)) > 1 else 'One seed.'} "
        "Ratio and spread have a logarithmic scale; values of 0 or close to it, such as the spread "
        "over an input that the generator is not conditioned on, lie outside the panel."
    )
