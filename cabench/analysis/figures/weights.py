"""How large the generated weights are beside the static ones they are added to, by site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cabench.analysis.figures.style import SCREEN, Look, finish, sheet
from cabench.analysis.generated import generated_rows, norms
from cabench.analysis.labels import fold
from cabench.evidence.frame import study_arms


def weights(
    path: str | Path,
    manifest: dict[str, Any],
    curves: dict[str, dict[str, Any]],
    look: Look = SCREEN,
) -> list[Path]:
    """Heat map of generated / static, arms x sites, norms in the cells; nothing without any."""
    found = last_norms(manifest, curves)
    if found.empty:
        return []
    order = [a["name"] for a in study_arms(manifest) if a["name"] in set(found["arm"])]
    sites = list(dict.fromkeys(found["site"]))
    mean = found.groupby(["arm", "site"])[["static", "generated"]].mean()
    ratio = (mean["generated"] / mean["static"]).replace([np.inf, -np.inf, 0], np.nan)
    cells = pd.Series(
        [f"{g:.3g} / {s:.3g}" for g, s in zip(mean["generated"], mean["static"], strict=True)],
        index=mean.index,
    )
    share = np.log2(ratio).unstack().reindex(index=order, columns=sites)
    size = float(np.nanmax(np.abs(share.to_numpy()), initial=1))
    text = cells.unstack().reindex(index=order, columns=sites).fillna("")
    names = ["\n".join(fold(arm, 30 if look.titled else 24)) for arm in order]
    rows = sum(0.29 + 0.13 * name.count("\n") for name in names)
    with sheet(
        2.8 + 1.1 * len(sites), 1.7 + rows if look.titled else 0.7 + look.size * rows, look
    ) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            share,
            ax=axes,
            cmap="PuOr_r",
            vmin=-size,
            vmax=size,
            yticklabels=names,
            annot=text,
            fmt="",
            annot_kws={"size": 7.5 * look.size},
            linewidths=0.5,
            cbar_kws={
                "fraction": 0.03,
                "ticks": MaxNLocator(5, integer=True),
                "format": FuncFormatter(lambda x, _: f"{2**x:.2g}"),
            },
        )
        axes.tick_params(length=0, axis="both")
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="", ylabel="")
        axes.set_xticklabels(sites, rotation=0 if len(sites) <= 6 else 30)
        n = found.groupby(["arm", "site"])["seed"].nunique()
        seeds = f"n = {n.min()}" if n.min() == n.max() else f"n = {n.min()} to {n.max()}"
        return finish(
            figure,
            path,
            look,
            "Generated weights beside static ones",
            "Frobenius norm, generated / static: mean over the layers of a kind (generated: also "
            f"over conditions) and over seeds, {seeds}, at the end of training. Colour: their "
            "ratio, orange where the generated part is the larger. Empty: this arm generates "
            "nothing there.",
        )


def last_norms(manifest: dict[str, Any], curves: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Rows of arm, seed, images, site, static, generated: each trial's last."""
    rows = norms(generated_rows(manifest, curves))
    return rows[rows["images"] == rows.groupby(["arm", "seed"])["images"].transform("max")]
