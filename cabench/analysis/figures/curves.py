"""Held-out loss against images seen: the loss itself, and the paired difference to the baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cabench.analysis.figures.arms import (
    LINE,
    arm_styles,
    draw_lines,
    label_ends,
    mean_over_seeds,
    seed_counts,
    seeds_text,
    thin_text,
    where,
)
from cabench.analysis.figures.style import FAINT, INK, SCREEN, Look, finish, new_figure
from cabench.analysis.training_curves import loss_frame
from cabench.evidence.results import Results


def curves(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw the held-out loss while training; nothing is drawn without curves.

    Left: mean over seeds (thick) and single seeds (thin). Right: the same minus the baseline's
    loss at the same seed and images, which separates arms that differ by a few per cent.
    """
    losses = heldout(results)
    if losses.empty:
        return []
    present = set(losses["arm"].unique())
    arms = [arm for arm in results.arms if arm in present]
    contenders = [arm for arm in arms if not results.is_lower_bound(arm)]
    differences = _paired(losses, results.manifest.baseline)
    styles = arm_styles(results, arms)
    low, line = (4.2, LINE) if look.titled else (2.9, look.size * LINE)
    width, height = 8.2 + 0.075 * max(map(len, arms)), max(low, 1.4 + line * len(arms))
    with new_figure(width, height, look) as figure:
        left, right = figure.subplots(1, 2)
        for arm in arms:
            draw_lines(left, where(losses, arm=arm), "loss", styles[arm], 1.5, 4)
        _zoom(left, losses, contenders or arms, after=1 / 6)
        left.set(title="held-out loss (lower is better)", xlabel="images seen")
        for arm in contenders:
            draw_lines(right, where(differences, arm=arm), "loss", styles[arm], 1.5, 4)
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        _zoom(right, differences, contenders, after=1 / 3)
        label_ends(right, _ends(differences, contenders), styles, look, height)
        right.set(title="minus the baseline's, same seed", xlabel="images seen")
        for axes in (left, right):
            axes.xaxis.set_major_formatter(thousands)
            axes.grid(axis="y", color=FAINT, linewidth=0.4)
        hidden = [arm for arm in arms if arm not in contenders]
        text = f"Baseline: {results.manifest.baseline}. {_caption(losses, hidden)}"
        return finish(figure, path, look, "Held-out loss during training", text)


def thousands(images: float, _position: float | None = None) -> str:
    """'0', '20K', '1,500K': images on an axis."""
    return f"{images / 1000:,g}K" if images else "0"


def heldout(results: Results) -> pd.DataFrame:
    """Rows of arm, seed, images, loss: the finite held-out losses."""
    losses = where(loss_frame(results), kind="heldout")
    finite = losses.loc[np.isfinite(losses["loss"].to_numpy(dtype=float))]
    return finite.loc[:, ["arm", "seed", "images", "loss"]]


def _paired(losses: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """The same rows, their loss minus the baseline's at the same seed and images."""
    base = where(losses, arm=baseline).drop(columns="arm")
    both = losses.merge(base, on=["seed", "images"], suffixes=("", "_base"))
    return both.assign(loss=both["loss"] - both["loss_base"]).drop(columns="loss_base")


def _ends(differences: pd.DataFrame, arms: list[str]) -> dict[str, tuple[float, float]]:
    """The last point of each arm's mean."""
    ends = {}
    for arm in arms:
        mean = mean_over_seeds(where(differences, arm=arm), "loss")
        if len(mean):
            ends[arm] = float(mean.index[-1]), float(mean.iloc[-1])
    return ends


def _zoom(axes: Axes, losses: pd.DataFrame, arms: list[str], after: float) -> None:
    """Limit the loss axis to the range that these arms have after that share of the images."""
    rows = losses.loc[losses["arm"].isin(arms)]
    if rows.empty:
        return
    images, loss = (rows[name].to_numpy(dtype=float) for name in ("images", "loss"))
    late = loss[images >= images.max() * after]
    low, high = float(late.min()), float(late.max())
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - pad, high + pad)


def _caption(losses: pd.DataFrame, hidden: list[str]) -> str:
    lines = [
        f"Thick lines: mean over {seeds_text(losses)}; {thin_text(losses)}."
        if max(seed_counts(losses)) > 1
        else "One seed.",
        "Measured on fewer images than the table's held-out loss. Solid: with the native method; "
        "dashed: without it.",
        "The first sixth of training (right: the first third) may lie outside the panel.",
    ]
    if hidden:
        lines.append(
            f"Dotted, left panel only, possibly outside it: {', '.join(hidden)} (lower bound)."
        )
    return " ".join(lines)
