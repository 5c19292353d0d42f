"""Audit of the metrics: the shift of each under each corruption, with its expectation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.patches import Rectangle

from cabench.analysis.figures.style import ALONE, SCREEN, Look, finish, new_figure

STRONG = 10.0  # standard deviations at the end of the colour scale


def audit(path: str | Path, frame: pd.DataFrame, look: Look = SCREEN) -> list[Path]:
    """Heat map of shifts, metrics x corruptions; unexpected cells have a border.

    `frame`: the rows of metrics.audit, one column per field.
    """
    rows, columns = (list(dict.fromkeys(frame[name])) for name in ("label", "corruption"))
    cells = [
        (f"{shift:+.0f}" if abs(shift) >= 10 else f"{shift:+.1f}")
        + (f"\n({expected})" if expected else "")
        for shift, expected in zip(frame["shift"], frame["expected"].fillna(""), strict=True)
    ]
    frame = frame.assign(cell=cells)
    shift, words = (
        frame.pivot(index="label", columns="corruption", values=name).loc[rows, columns]
        for name in ("shift", "cell")
    )
    one = frame.iloc[0]
    with new_figure(2.6 + 1.05 * len(columns), 1.9 + 0.46 * len(rows), look) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            np.clip(shift, -STRONG, STRONG),
            ax=axes,
            cmap="PuOr_r",
            vmin=-STRONG,
            vmax=STRONG,
            annot=words,
            fmt="",
            annot_kws={"size": 7.5 * look.size},
            linewidths=0.5,
            cbar_kws={"fraction": 0.03},
        )
        unexpected = frame[~frame["agrees"]]
        for label, corruption in zip(unexpected["label"], unexpected["corruption"], strict=True):
            corner = columns.index(corruption) + 0.04, rows.index(label) + 0.06
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=ALONE, lw=2))
        axes.tick_params(length=0, axis="both")
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="", ylabel="")
        return finish(
            figure,
            path,
            look,
            f"Audit of the metrics on {one['data']}",
            f"Shift of the mean over {one['sets']} sets of n = {one['n']:,} real images, in "
            "standard deviations of the intact sets' scores: orange is worse, within 2 counts as "
            "flat. In brackets: the effect expected beforehand, if any was stated; a border marks "
            "cells that differ.",
        )
