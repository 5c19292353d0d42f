"""Graded corruptions: the change of each metric over the strength of each corruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn

from cabench.analysis.figures.style import SCREEN, Look, finish, new_figure

COLUMNS = 3


def graded(
    path: str | Path,
    frame: pd.DataFrame,
    what: str,
    costs: Mapping[str, float],
    look: Look = SCREEN,
) -> list[Path]:
    """A panel per corruption, a line per metric.

    `frame`: the rows of metrics.graded, one column per field. `what`: the images that are
    corrupted. `costs`: what shorter training costs each metric; changes are in units of it, or
    without it in standard deviations.
    """
    intact = frame[frame["corruption"] == ""].set_index("metric")["score"].abs().to_dict()
    unit_of = dict(costs)
    if not costs:  # the sets may all have the same score
        sd = frame.set_index("metric")["sd"].to_dict()
        unit_of = {str(metric): max(sd[metric], 1e-3 * intact[metric]) for metric in sd}
    units = np.array([unit_of.get(metric, np.nan) for metric in frame["metric"]])
    frame = frame.assign(change=frame["change"] / units)
    frame = pd.DataFrame(frame[(units > 0) & (frame["corruption"] != "").to_numpy()])
    corruptions = list(dict.fromkeys(frame["corruption"]))
    labels = list(dict.fromkeys(frame["label"]))
    palette = dict(zip(labels, seaborn.color_palette("colorblind", len(labels)), strict=True))
    lines = -(-len(corruptions) // COLUMNS)
    with new_figure(10.5, 1.4 + 2.7 * lines, look) as figure:
        panels = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False).flat
        for axes, corruption in zip(panels, corruptions, strict=False):
            part = pd.DataFrame(frame[frame["corruption"] == corruption])
            seaborn.lineplot(
                part,
                x="strength",
                y="change",
                hue="label",
                palette=palette,
                marker="o",
                ax=axes,
                legend=corruption == corruptions[0],
            )
            axes.axhline(1, color="0.6", linewidth=0.8)
            axes.set_yscale("symlog", linthresh=1)
            axes.set(
                title=corruption, xlabel=next(iter(part["unit"])), ylabel="change (up is worse)"
            )
        if (legend := panels[0].get_legend()) is not None:
            legend.set_title(None)
        for axes in list(panels)[len(corruptions) :]:
            axes.set_visible(False)
        one = frame.iloc[0]
        unit = "the change with less training" if costs else "standard deviations of intact sets"
        return finish(
            figure,
            path,
            look,
            f"Graded corruptions on {one['data']}",
            f"Change of the mean score over {one['sets']} sets of n = {one['n']:,} {what}. "
            f"Unit: {unit}, the grey line.",
        )
