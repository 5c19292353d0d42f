"""Where along the noise an arm gains: held-out loss by noise bin, in per cent of the baseline's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn

from cabench.analysis.figures.style import SCREEN, Look, finish, sheet
from cabench.analysis.labels import fold
from cabench.evidence.frame import study_arms, tidy
from cabench.evidence.metric import SUPPORT


def bins(
    path: str | Path, manifest: dict[str, Any], records: dict[str, Any], look: Look = SCREEN
) -> list[Path]:
    """Heat map, arms x bins; nothing is written when no trial has bins."""
    table = by_bin(manifest, records)
    if table.empty:
        return []
    names = ["\n".join(fold(arm, 30 if look.titled else 24)) for arm in table.index]
    rows = sum(0.26 + 0.13 * name.count("\n") for name in names)
    size = float(np.nanquantile(np.abs(table.to_numpy()), 0.95)) or 1.0
    height = 1.7 + rows if look.titled else 0.55 + look.size * rows
    with sheet(9.0, height, look) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            table,
            ax=axes,
            cmap="PuOr_r",
            vmin=-size,
            vmax=size,
            yticklabels=names,
            annot=True,
            fmt="+.1f",
            annot_kws={"size": 7.5 * look.size},
            cbar_kws={"aspect": 6 * rows, "fraction": 0.03},
        )
        axes.tick_params(length=0)
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="noise bin: equal parts of t, 0 is the least noise", ylabel="")
        return finish(
            figure,
            path,
            look,
            f"Held-out loss by noise bin, relative to {manifest['baseline']}",
            "Mean over the seeds that both have of 100 (loss / baseline's loss - 1); "
            "negative (purple) is better. No test: this says where, not whether.",
        )


def by_bin(manifest: dict[str, Any], records: dict[str, Any]) -> pd.DataFrame:
    """Arms x bins: the relative difference to the baseline in per cent, mean over common seeds."""
    frame = tidy(manifest, records)
    part = frame["metric"].str.extract(rf"^{re.escape(SUPPORT)}/bin(\d+)$", expand=False)
    frame = frame.assign(bin=pd.to_numeric(part))[part.notna()]
    base = frame[frame["arm"] == manifest["baseline"]][["seed", "bin", "value"]]
    both = frame.merge(base, on=["seed", "bin"], suffixes=("", "_base"))
    both["percent"] = 100 * (both["value"] / both["value_base"] - 1)
    shown = [
        arm["name"]
        for arm in study_arms(manifest)
        if not arm.get("bound") and arm["name"] != manifest["baseline"]
    ]
    table = both.pivot_table(index="arm", columns="bin", values="percent", aggfunc="mean")
    table.columns = table.columns.astype(int)
    return table.reindex([arm for arm in shown if arm in table.index])
