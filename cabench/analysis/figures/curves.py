"""Held-out loss against images seen: the loss itself, and the paired difference to the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cabench.analysis.figures.style import (
    BOUND,
    CYCLE,
    FAINT,
    INK,
    SCREEN,
    Look,
    finish,
    sheet,
)
from cabench.evidence.frame import has_native, is_bound, study_arms

LINE = 0.155  # inches of height that a direct label needs


def curves(
    path: str | Path,
    manifest: dict[str, Any],
    curves: dict[str, dict[str, Any]],
    look: Look = SCREEN,
) -> list[Path]:
    """From each trial's curves (by key); nothing is written when there are none.

    Left: mean over seeds (thick) and single seeds (thin). Right: the same less the baseline's at
    the same seed and images, where arms that differ by a few per cent come apart.
    """
    losses = heldout(manifest, curves)
    if losses.empty:
        return []
    arms = [a["name"] for a in study_arms(manifest) if a["name"] in set(losses["arm"])]
    looks = arm_styles(manifest, arms)
    differences = _paired(losses, manifest["baseline"])
    label = 0.075 * max(map(len, arms))
    low, line = (4.2, LINE) if look.titled else (2.9, look.size * LINE)
    with sheet(8.2 + label, max(low, 1.4 + line * len(arms)), look) as figure:
        left, right = figure.subplots(1, 2)
        _lines(left, losses, arms, looks)
        shown = [a for a in arms if not is_bound(manifest, a)]
        _zoom(left, losses[losses["arm"].isin(shown or arms)], after=1 / 6)
        left.set(title="held-out loss (lower is better)", xlabel="images seen")
        _lines(right, differences, shown, looks)
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        if not differences.empty:
            _zoom(right, differences[differences["arm"].isin(shown)], after=1 / 3)
        ends = {a: _mean(differences[differences["arm"] == a]) for a in shown}
        ends = {a: (mean.index[-1], mean.iloc[-1]) for a, mean in ends.items() if len(mean)}
        label_ends(right, ends, looks, look)
        right.set(title="less the baseline's, same seed", xlabel="images seen")
        for axes in (left, right):
            axes.xaxis.set_major_formatter(thousands)
            axes.grid(axis="y", color=FAINT, linewidth=0.4)
        hidden = [a for a in arms if a not in shown]
        text = f"Baseline: {manifest['baseline']}. {_small_print(losses, hidden)}"
        return finish(figure, path, look, "Held-out loss while training", text)


def thousands(x: float, _place: int | None = None) -> str:
    """'0', '20K', '1,500K': images on an axis."""
    return f"{x / 1000:,g}K" if x else "0"


def heldout(manifest: dict[str, Any], curves: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Rows of arm, seed, images, loss."""
    rows = [
        (trial["arm"], trial["seed"], images, loss)
        for trial in manifest["trials"]
        if (held := (curves.get(trial["key"]) or {}).get("heldout"))
        for images, loss in zip(held["images"], held["loss"], strict=True)
        if loss is not None and np.isfinite(loss)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "images", "loss"])


def _paired(losses: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """The same rows, loss less the baseline's at the same seed and images."""
    base = losses[losses["arm"] == baseline].drop(columns="arm")
    both = losses.merge(base, on=["seed", "images"], suffixes=("", "_base"))
    return both.assign(loss=both["loss"] - both["loss_base"]).drop(columns="loss_base")


def arm_styles(manifest: dict[str, Any], arms: list[str]) -> dict[str, dict[str, Any]]:
    """A colour in turn; solid with the native method, dashed alone, dotted grey for a bound."""
    looks, used = {}, 0
    for arm in arms:
        if is_bound(manifest, arm):
            looks[arm] = {"color": BOUND, "linestyle": ":"}
        elif arm == manifest["baseline"]:
            looks[arm] = {"color": INK, "linestyle": "-"}
        else:
            dashes = "-" if has_native(manifest, arm) else (0, (4, 1.5))
            looks[arm] = {"color": CYCLE[used % len(CYCLE)], "linestyle": dashes}
            used += 1
    return looks


def _mean(rows: pd.DataFrame) -> pd.Series:
    """Mean loss by images, where every seed of the arm that got furthest has a value."""
    groups = rows.groupby("images")["loss"]
    return groups.mean()[groups.count() == groups.count().max()]


def _lines(axes: Axes, losses: pd.DataFrame, arms: list[str], looks: dict[str, Any]) -> None:
    for arm in arms:
        rows = losses[losses["arm"] == arm]
        if rows["seed"].nunique() > 1:
            for _, one in rows.groupby("seed"):
                axes.plot(one["images"], one["loss"], linewidth=0.5, alpha=0.35, **looks[arm])
        if len(rows):
            mean = _mean(rows)
            marker = "o" if len(mean) == 1 else ""
            axes.plot(mean.index, mean, linewidth=1.5, marker=marker, markersize=4, **looks[arm])


def _zoom(axes: Axes, losses: pd.DataFrame, after: float) -> None:
    """Cut the first fall off: the range of all that comes after that part of the images."""
    late = losses[losses["images"] >= losses["images"].max() * after]["loss"]
    pad = 0.05 * (late.max() - late.min()) or 0.05 * abs(late.max())
    axes.set_ylim(late.min() - pad, late.max() + pad)


def label_ends(
    axes: Axes, ends: dict[str, tuple[float, float]], styles: dict[str, Any], look: Look
) -> None:
    """Names to the right of the panel, each tied to its point, pushed apart where too close."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    height = axes.get_figure().get_figheight() - (1.3 if look.titled else 0.75)
    wanted = {arm: (y - bottom) / (top - bottom) for arm, (_, y) in ends.items()}
    for arm, place in spread(wanted, look.size * LINE / height).items():
        colour = styles[arm]["color"]
        axes.annotate(
            arm,
            xy=ends[arm],
            xytext=(1.05, place),
            textcoords=axes.transAxes,
            va="center",
            fontsize=8 * look.size,
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 1,
            },
        )


def spread(wanted: dict[str, float], gap: float) -> dict[str, float]:
    """Positions in the wanted order, at least `gap` apart, near where they were, within 0 to 1."""
    names = sorted(wanted, key=lambda name: wanted[name])
    groups: list[list[Any]] = []  # [names, centre]
    for name in names:
        groups.append([[name], wanted[name]])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], gap):
            upper, lower = groups.pop(), groups.pop()
            both = lower[0] + upper[0]
            groups.append([both, sum(wanted[n] for n in both) / len(both)])
        half = gap * (len(groups[-1][0]) - 1) / 2
        groups[-1][1] = min(max(groups[-1][1], half), max(1 - half, half))
    return {
        name: centre + gap * (i - (len(members) - 1) / 2)
        for members, centre in groups
        for i, name in enumerate(members)
    }


def _overlap(lower: list[Any], upper: list[Any], gap: float) -> bool:
    return upper[1] - lower[1] < gap * (len(lower[0]) + len(upper[0])) / 2


def _small_print(losses: pd.DataFrame, hidden: list[str]) -> str:
    n = losses.groupby("arm")["seed"].nunique()
    seeds = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    lines = [
        f"Thick: mean over n = {seeds} seeds; thin: single seeds." if n.max() > 1 else "One seed.",
        "On fewer pictures than the table's loss. Solid: with the native method; dashed: without.",
        "What comes before a sixth (right: a third) of the images may lie off the panel.",
    ]
    if hidden:
        lines.append(f"Dotted, left only, maybe off it: {', '.join(hidden)} (lower bound).")
    return " ".join(lines)
