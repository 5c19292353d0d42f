"""Size of generated weights relative to the static weights they add to, by kind of site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cabench.analysis.figures.arms import row_names, rows_height, seeds_text
from cabench.analysis.figures.style import SCREEN, Look, finish, new_figure
from cabench.analysis.training_curves import norms, weight_frame
from cabench.evidence.results import Results


def weights(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw a heat map of generated / static norm, arms x sites; nothing without generators.

    Cells hold both norms; colours are log2 of their ratio.
    """
    last = last_norms(results)
    if last.empty:
        return []
    arms = [arm for arm in results.arms if arm in set(last["arm"])]
    sites = list(dict.fromkeys(last["site"]))
    static, generated = (_mean(last, name, arms, sites) for name in ("static", "generated"))
    has_ratio = (static > 0) & (generated > 0)
    share = np.full(static.shape, np.nan)
    np.log2(generated / np.where(static > 0, static, 1), out=share, where=has_ratio)
    limit = float(np.nanmax(np.abs(share), initial=1))
    cells = [
        ["" if np.isnan(g) else f"{g:.3g} / {s:.3g}" for g, s in zip(*row, strict=True)]
        for row in zip(generated, static, strict=True)
    ]
    labels = row_names(arms, look)
    rows = rows_height(labels, 0.29)
    height = 1.7 + rows if look.titled else 0.7 + look.size * rows
    with new_figure(2.8 + 1.1 * len(sites), height, look) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            pd.DataFrame(share, index=pd.Index(arms), columns=pd.Index(sites)),
            ax=axes,
            cmap="PuOr_r",
            vmin=-limit,
            vmax=limit,
            yticklabels=labels,
            annot=np.array(cells),
            fmt="",
            annot_kws={"size": 7.5 * look.size},
            linewidths=0.5,
            cbar_kws={
                "fraction": 0.03,
                "ticks": MaxNLocator(5, integer=True),
                "format": FuncFormatter(lambda x, _: f"{2**x:.3g}"),
            },
        )
        axes.tick_params(length=0, axis="both")
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="", ylabel="")
        axes.set_xticklabels(sites, rotation=0 if len(sites) <= 6 else 30)
        return finish(
            figure,
            path,
            look,
            "Generated weights relative to static weights",
            "Frobenius norms, generated / static, at the end of training: mean over the layers of "
            f"a kind (generated: also over conditions) and over {seeds_text(last)}. Colour: their "
            "ratio, orange where the generated weights are larger. Empty: the arm generates no "
            "weights there.",
        )


def _mean(rows: pd.DataFrame, norm: str, arms: list[str], sites: list[str]) -> np.ndarray:
    """(arms, sites) the mean of a norm over seeds; NaN where an arm generates nothing."""
    table = rows.pivot_table(index="arm", columns="site", values=norm)
    return table.reindex(index=arms, columns=sites).to_numpy(dtype=float)


def last_norms(results: Results) -> pd.DataFrame:
    """Rows of arm, seed, images, site, static, generated: the last point of each trial."""
    rows = norms(weight_frame(results))
    last = rows.groupby(["arm", "seed"])["images"].transform("max")
    return rows.loc[rows["images"] == last]
