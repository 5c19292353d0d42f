"""Held-out loss by noise bin, relative to the baseline: at which noise levels an arm gains."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn

from cabench.analysis.figures.arms import row_names, rows_height, where
from cabench.analysis.figures.style import SCREEN, Look, finish, new_figure
from cabench.evidence.metric import SUPPORT
from cabench.evidence.results import Results

BIN = re.compile(rf"{re.escape(SUPPORT)}/bin(\d+)")


def bins(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw a heat map of arms x bins; nothing is drawn when no trial has bins."""
    table = by_bin(results)
    if table.empty:
        return []
    labels = row_names(list(table.index), look)
    rows = rows_height(labels, 0.26)
    limit = float(np.nanquantile(np.abs(table.to_numpy(dtype=float)), 0.95)) or 1.0
    height = 1.7 + rows if look.titled else 0.55 + look.size * rows
    with new_figure(9.0, height, look) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            table,
            ax=axes,
            cmap="PuOr_r",
            vmin=-limit,
            vmax=limit,
            yticklabels=labels,
            annot=True,
            fmt="+.1f",
            annot_kws={"size": 7.5 * look.size},
            cbar_kws={"aspect": 6 * rows, "fraction": 0.03},
        )
        axes.tick_params(length=0)
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="noise bin (equal parts of t; bin 0 has the least noise)", ylabel="")
        return finish(
            figure,
            path,
            look,
            f"Held-out loss by noise bin, relative to {results.manifest.baseline}",
            "In per cent: 100 × (loss / baseline's loss − 1), mean over the seeds that both arms "
            "have; negative (purple) is better. Not tested: the map shows at which noise levels "
            "arms differ, not whether they do.",
        )


def by_bin(results: Results) -> pd.DataFrame:
    """Arms x bins: per cent above the baseline's loss, mean over the seeds that both have."""
    frame = results.frame
    matches = [BIN.fullmatch(name) for name in frame["metric"]]
    numbers = pd.Series([int(m[1]) if m else -1 for m in matches], index=frame.index)
    losses = frame.assign(bin=numbers).loc[numbers >= 0]
    base = where(losses, arm=results.manifest.baseline).loc[:, ["seed", "bin", "value"]]
    both = losses.merge(base, on=["seed", "bin"], suffixes=("", "_base"))
    both["percent"] = 100 * (both["value"] / both["value_base"] - 1)
    table = both.pivot_table(index="arm", columns="bin", values="percent", aggfunc="mean")
    arms = [arm for arm in results.contenders if arm != results.manifest.baseline]
    return table.reindex([arm for arm in arms if arm in table.index])
