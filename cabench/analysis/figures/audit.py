"""What each metric sees of each corruption, beside what it should see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.patches import Rectangle

from cabench.analysis.figures.style import ALONE, SCREEN, Look, finish, new_figure

STRONG = 10.0  # standard deviations that have the full colour


def audit(path: str | Path, frame: pd.DataFrame, look: Look = SCREEN) -> list[Path]:
    """Heat map metrics x corruptions of the shift; a frame around what is not as expected."""
    rows, columns = (list(dict.fromkeys(frame[name])) for name in ("label", "corruption"))
    shift = frame.pivot(index="label", columns="corruption", values="shift").loc[rows, columns]
    words = (
        frame.assign(
            cell=[
                f"{s:+.0f}\n{w}" if abs(s) >= 10 else f"{s:+.1f}\n{w}"
                for s, w in zip(frame["shift"], frame["expected"].radd("want "), strict=True)
            ]
        )
        .pivot(index="label", columns="corruption", values="cell")
        .loc[rows, columns]
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
        wrong = frame.loc[~frame["agrees"]]
        for corruption, label in zip(wrong["corruption"], wrong["label"], strict=True):
            corner = columns.index(corruption) + 0.04, rows.index(label) + 0.06
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=ALONE, lw=2))
        axes.tick_params(length=0, axis="both")
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="", ylabel="")
        return finish(
            figure,
            path,
            look,
            f"What the metrics see on {one['data']}",
            f"Shift of the mean over {one['sets']} sets of n = {one['n']:,} real pictures, in "
            "standard deviations of the intact sets' scores: orange is worse, below 2 is flat. "
            "Below each, what was expected beforehand; a frame marks where it is otherwise.",
        )
