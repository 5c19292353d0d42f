"""The cost of conditioning relative to the static control, over the model's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from cabench.analysis.figures.style import CYCLE, FAINT, SCREEN, Look, finish, new_figure

if TYPE_CHECKING:
    from cabench.config.cost_study import CostStudy

PANELS = {
    "macs": "MACs",
    "step": "training step",
    "sampling": "sampling run",
    "latency": "sampling one image",
}
MARKERS = "os^D"  # the next one after each round of colours
Row = dict[str, Any]  # of the study's table: model, arm, macs, macs_ratio, step_ratio, ...


def overhead(
    path: str | Path, study: CostStudy, table: Sequence[Row], look: Look = SCREEN
) -> list[Path]:
    """Draw each arm's cost relative to the baseline's, a panel per kind of cost.

    Where backbones have several models: ratios (log) over the baseline's MACs (log), a row per
    backbone. Else: ratios by arm, a row per model. Whiskers are 95 % intervals.
    """
    backbones = {name: model.backbone for name, model in study.models.items()}
    counts = [count for count in PANELS if any(f"{count}_ratio" in r for r in table)]
    shown = list(dict.fromkeys(backbones[r["model"]] for r in table))
    if len(shown) == len(study.models):
        return by_arm(path, study, table, counts, look)
    width, height = 3.0 * len(counts) + 1.9, 1.0 + 3.1 * len(shown)
    with new_figure(width, height, look) as figure:
        grid = figure.subplots(len(shown), len(counts), sharey="row", squeeze=False)
        legend: dict[str, Line2D] = {}
        for backbone, panels in zip(shown, grid, strict=True):
            for count, axes in zip(counts, panels, strict=True):
                rows = [r for r in table if backbones[r["model"]] == backbone]
                rows = [r for r in rows if f"{count}_ratio" in r]
                axes.set_visible(bool(rows))
                if rows:
                    legend |= _panel(axes, study, rows, sizes(study, table), count)
                    axes.set_title(f"{backbone}: {PANELS[count]}", loc="left")
            panels[0].set_ylabel(f"relative to {study.baseline}")
        figure.legend(
            list(legend.values()), list(legend), loc="outside right center", frameon=False
        )
        text = f"Each point: a model with the arm, relative to the same model with {study.baseline}"
        text += "; lines join models with equally many tokens."
        if counts != ["macs"]:
            text += " Times: ratios within one run on one thread of one machine."
        return finish(figure, path, look, study.question, text)


def _panel(
    axes: Axes, study: CostStudy, rows: list[Row], size: dict[str, int], count: str
) -> dict[str, Line2D]:
    """Draw one kind of cost of one backbone; return a line by arm, for the legend."""
    axes.axhline(1, color=FAINT, zorder=0)
    _name_models(axes, {r["model"]: size[r["model"]] for r in rows})
    lines: dict[str, Line2D] = {}
    for i, arm in enumerate(_arms(study)):
        colour, marker = CYCLE[i % len(CYCLE)], MARKERS[i // len(CYCLE) % len(MARKERS)]
        for group in by_tokens(study, [r for r in rows if r["arm"] == arm]):
            lines.setdefault(arm, _line(axes, group, size, count, colour, marker))
    if len({r["model"] for r in rows}) == 1:  # matplotlib finds no limits for one point
        one = size[rows[0]["model"]]
        axes.set_xlim(one / 2, one * 2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _times_axis(axes.yaxis, 8)
    axes.set_xlabel(f"MACs of {study.baseline}")
    return lines


def by_arm(
    path: str | Path, study: CostStudy, table: Sequence[Row], counts: list[str], look: Look
) -> list[Path]:
    """Draw ratios (log) by arm, a row of panels per model."""
    arms = _arms(study)[::-1]
    models = len(study.models)
    width, height = 2.6 * len(counts) + 1.9, 1.2 + (0.75 + 0.15 * len(arms)) * models
    with new_figure(width, height, look) as figure:
        grid = figure.subplots(models, len(counts), sharex="col", sharey="row", squeeze=False)
        for panels, model in zip(grid, study.models, strict=True):
            rows = {r["arm"]: r for r in table if r["model"] == model}
            for axes, count in zip(panels, counts, strict=True):
                _ratios(axes, rows, arms, count)
                axes.set_yticks(range(len(arms)), arms, fontsize=6.5 * look.size)
                axes.set_title(f"{model}: {PANELS[count]}", loc="left", fontsize=8.5 * look.size)
        return finish(
            figure,
            path,
            look,
            study.question,
            f"Relative to {study.baseline}; lines: 95 % intervals of the median over alternating "
            "rounds, in one run on one thread of one machine.",
        )


def _ratios(axes: Axes, rows: dict[str, Row], arms: list[str], count: str) -> None:
    axes.axvline(1, color=FAINT, zorder=0)
    for y, arm in enumerate(arms):
        row = rows.get(arm, {})
        if f"{count}_ratio" in row:
            ratio = row[f"{count}_ratio"]
            ends = [row.get(f"{count}_{end}", ratio) for end in ("low", "high")]
            axes.plot(ends, [y, y], color=CYCLE[0], lw=1.2)
            axes.plot(ratio, y, "o", color=CYCLE[0], ms=3.5)
    axes.set_xscale("log")
    axes.grid(axis="y", lw=0.3, color=FAINT)
    _times_axis(axes.xaxis, 5)


def _times_axis(axis: Axis, ticks: int) -> None:
    """Label a logarithmic axis '1x', '1.2x', ..."""
    for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        set_formatter(FuncFormatter(lambda v, _: f"{v:.3g}x"))
    axis.set_major_locator(MaxNLocator(ticks))
    axis.set_minor_locator(NullLocator())


def _arms(study: CostStudy) -> list[str]:
    return [arm for arm in study.arms if arm != study.baseline]


def sizes(study: CostStudy, table: Sequence[Row]) -> dict[str, int]:
    """MACs of each model with the baseline."""
    return {r["model"]: r["macs"] for r in table if r["arm"] == study.baseline}


def by_tokens(study: CostStudy, rows: list[Row]) -> list[list[Row]]:
    """The rows in groups of models with equally many patches."""
    groups: dict[int, list[Row]] = {}
    for r in rows:
        model = study.models[r["model"]]
        groups.setdefault(model.shape[1] * model.shape[2] // model.patch**2, []).append(r)
    return list(groups.values())


def _name_models(axes: Axes, sizes: dict[str, int]) -> None:
    """A vertical line at each size with its models' names; sizes close together share a label."""
    named: dict[int, list[str]] = {}
    for model, size in sorted(sizes.items(), key=lambda item: item[1]):
        axes.axvline(size, color=FAINT, lw=0.5, zorder=0)
        near = [at for at in named if size < 1.4 * at]
        named.setdefault(near[-1] if near else size, []).append(model)
    for size, models in named.items():
        axes.annotate(
            ", ".join(models),
            (size, 1),
            (-2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=6,
            color="#888888",
        )
    axes.margins(x=0.12)


def _line(
    axes: Axes, rows: list[Row], size: dict[str, int], count: str, colour: str, marker: str
) -> Line2D:
    points = sorted(rows, key=lambda r: size[r["model"]])
    x, y = [size[r["model"]] for r in points], [r[f"{count}_ratio"] for r in points]
    if count != "macs":
        low = [r[f"{count}_ratio"] - r[f"{count}_low"] for r in points]
        high = [r[f"{count}_high"] - r[f"{count}_ratio"] for r in points]
        axes.errorbar(x, y, [low, high], fmt="none", lw=1, color=colour)
    return axes.plot(x, y, color=colour, marker=marker, lw=1.2, ms=4)[0]
