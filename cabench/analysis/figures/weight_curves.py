"""What the weight generators make while training: size, spread, rank; a column a kind of site."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from cabench.analysis.figures.curves import LINE, arm_styles, thousands
from cabench.analysis.figures.style import FAINT, SCREEN, Look, finish, sheet
from cabench.analysis.generated import generated_rows, norms
from cabench.evidence.frame import study_arms

PANELS = {
    "ratio": "generated\n/ static",
    "spread_class": "spread over\nclasses",
    "spread_time": "spread over\ntimesteps",
    "effective_rank": "effective\nrank",
}
NOTHING = 1e4  # a ratio so far below the largest is next to nothing, and off the panel
LETTER = 0.069  # inches of width of a letter in the key


def weight_curves(
    path: str | Path,
    manifest: dict[str, Any],
    curves: dict[str, dict[str, Any]],
    look: Look = SCREEN,
) -> list[Path]:
    """Rows of measures, columns of sites, a line an arm; nothing is written without generators."""
    rows = with_ratio(generated_rows(manifest, curves))
    if rows.empty:
        return []
    sites = list(dict.fromkeys(rows["site"]))
    arms = [a["name"] for a in study_arms(manifest)]
    styles = arm_styles(manifest, arms)  # the colours of the figure of losses
    arms = [arm for arm in arms if arm in set(rows["arm"])]
    width = look.width or max(6.5, 1.2 + 1.5 * len(sites))
    across = max(1, int((width - 0.3) / (look.size * LETTER * (max(map(len, arms)) + 7))))
    lines = ceil(len(arms) / across)
    panel, key = 1.15, look.size * (0.12 + LINE * lines)
    height = len(PANELS) * panel + key + (1.7 if look.titled else 0.6)
    with sheet(width, height, look) as figure:
        grid = figure.add_gridspec(
            len(PANELS) + 1, len(sites), height_ratios=[panel] * len(PANELS) + [key]
        )
        for row, (measure, title) in enumerate(PANELS.items()):
            first: Axes | None = None
            for column, site in enumerate(sites):
                axes = figure.add_subplot(grid[row, column], sharey=first)
                first = first or axes
                chosen = rows[(rows["measure"] == measure) & (rows["site"] == site)]
                _lines(axes, chosen, arms, styles)
                _dress(axes, rows["images"].max(), bottom=row == len(PANELS) - 1)
                if row == 0:
                    axes.set_title(site)
                axes.tick_params(labelleft=column == 0)
            first.set_ylabel(title)
            _scale(first, measure, rows[rows["measure"] == measure]["value"])
        _key(figure.add_subplot(grid[-1, :]), arms, styles, across, look)
        figure.align_ylabels()
        return finish(figure, path, look, "Generated weights while training", _small_print(rows))


def with_ratio(rows: pd.DataFrame) -> pd.DataFrame:
    """The measures that are drawn: `ratio`, generated / static, in the place of the two norms."""
    sizes = norms(rows)
    ratio = (sizes["generated"] / sizes["static"]).where(sizes["static"] > 0)
    sizes = sizes.assign(measure="ratio", value=ratio).dropna(subset="value")
    return pd.concat([sizes, rows[rows["measure"].isin(PANELS)]], ignore_index=True)


def _lines(axes: Axes, rows: pd.DataFrame, arms: list[str], styles: dict[str, Any]) -> None:
    """Mean over seeds (thick), where all that got furthest have a value, and seeds (thin)."""
    for arm in arms:
        own = rows[rows["arm"] == arm]
        if own.empty:
            continue
        if own["seed"].nunique() > 1:
            for _, one in own.groupby("seed"):
                axes.plot(one["images"], one["value"], linewidth=0.5, alpha=0.35, **styles[arm])
        groups = own.groupby("images")["value"]
        mean = groups.mean()[groups.count() == groups.count().max()]
        marker = "o" if len(mean) == 1 else ""
        axes.plot(mean.index, mean, linewidth=1.3, marker=marker, markersize=3, **styles[arm])


def _scale(axes: Axes, measure: str, values: pd.Series) -> None:
    """Ratios differ by orders of magnitude between sites: their scale is logarithmic."""
    if measure == "effective_rank":
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return
    seen = values[values > values.max() / NOTHING]
    if not len(seen):
        return
    axes.set_yscale("log")
    axes.set_ylim(seen.min() / 1.3, seen.max() * 1.3)
    low, high = axes.get_ylim()
    narrow, wide = high < 6 * low, high > 50 * low
    places = MaxNLocator(4) if narrow else LogLocator(subs=(1,) if wide else (1, 3), numticks=4)
    axes.yaxis.set_major_locator(places)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def _dress(axes: Axes, end: int, bottom: bool) -> None:
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.xaxis.set_major_formatter(thousands)
    axes.tick_params(labelbottom=bottom)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    if bottom:
        axes.set_xlabel("images seen")


def _key(axes: Axes, arms: list[str], styles: dict[str, Any], across: int, look: Look) -> None:
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


def _small_print(rows: pd.DataFrame) -> str:
    n = rows.groupby("arm")["seed"].nunique()
    seeds = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    many = f"Thick: mean over n = {seeds} seeds; thin: single seeds."
    return (
        "Of the averaged network, mean over the layers of a kind. Norms: Frobenius, generated: "
        "mean over conditions (classes x timesteps). Spread: RMS distance of generated weights "
        "from their mean over classes at one timestep (or over timesteps at one class), in units "
        "of the static norm. Effective rank: exp of the entropy of the normalised squared singular "
        "values of [conditions x generated weights], less their mean over conditions; at most the "
        f"number of conditions less one. {many if n.max() > 1 else 'One seed.'} "
        "Ratios have a log scale: what is 0 or next to it, as is the spread over what a generator "
        "is not told, lies off the panel."
    )
