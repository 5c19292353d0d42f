"""What conditioning costs beside the static control, over the network's size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from cabench.analysis.figures.style import CYCLE, FAINT, SCREEN, Look, finish, sheet

if TYPE_CHECKING:
    from cabench.cost.spec import CostStudy

PANELS = {"macs": "MACs", "step": "training step", "sampling": "sampling run",
          "latency": "sampling one picture"}  # fmt: skip


def overhead(
    path: str | Path, study: CostStudy, table: list[dict[str, Any]], look: Look = SCREEN
) -> list[Path]:
    """Ratio to the baseline (log) over the baseline's MACs (log); whiskers: 95 % intervals.

    A panel for each backbone and each of PANELS that there is.
    """
    backbones = list(dict.fromkeys(m.backbone for m in study.models.values()))
    on = {r["model"]: study.models[r["model"]].backbone for r in table}
    panels = [
        (backbone, count) for backbone in backbones for count in PANELS
        if any(f"{count}_ratio" in r for r in table if on[r["model"]] == backbone)
    ]  # fmt: skip
    arms = [a for a in study.arms if a != study.baseline]
    with sheet(3.0 * len(panels) + 1.9, 4.1, look) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        drawn = {}
        for ax, (backbone, count) in zip(axes, panels, strict=True):
            mine = [r for r in table if on[r["model"]] == backbone and f"{count}_ratio" in r]
            ax.axhline(1, color=FAINT, zorder=0)
            size = sizes(study, table)
            _name_models(ax, {r["model"]: size[r["model"]] for r in mine})
            for i, arm in enumerate(arms):
                for alike in by_tokens(study, [r for r in mine if r["arm"] == arm]):
                    line = _line(ax, alike, size, count, CYCLE[i % len(CYCLE)])
                    drawn.setdefault(arm, line)
            if len({r["model"] for r in mine}) == 1:  # matplotlib finds no limits for one point
                one = size[mine[0]["model"]]
                ax.set_xlim(one / 2, one * 2)
            ax.set_xscale("log")
            ax.set_yscale("log")
            for kind in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                kind(FuncFormatter(lambda v, _: f"{v:.3g}x"))
            ax.yaxis.set_major_locator(MaxNLocator(8))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.set_title(f"{backbone}: {PANELS[count]}", loc="left")
            ax.set_xlabel("MACs of the control")
        axes[0].set_ylabel(f"of {study.baseline}'s")
        figure.legend(drawn.values(), drawn, loc="outside right center", frameon=False)
        return finish(
            figure, path, look, study.question,
            f"Each point: a model with the arm over the same model with {study.baseline}; "
            "lines join models of equally many tokens. "
            + "Times are ratios of one run on one thread of one machine."
            * any(count != "macs" for _, count in panels),
        )  # fmt: skip


def sizes(study: CostStudy, table: list[dict[str, Any]]) -> dict[str, int]:
    """MACs of each model's control."""
    return {r["model"]: r["macs"] for r in table if r["arm"] == study.baseline}


def by_tokens(study: CostStudy, rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows in groups of models whose patches are equally many."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for r in rows:
        model = study.models[r["model"]]
        groups.setdefault(model.shape[1] * model.shape[2] // model.patch**2, []).append(r)
    return list(groups.values())


def _name_models(ax: Axes, sizes: dict[str, int]) -> None:
    """A line up from each size, its models' names beside it; near ones share a name."""
    named: dict[int, list[str]] = {}
    for model, size in sorted(sizes.items(), key=lambda item: item[1]):
        ax.axvline(size, color=FAINT, lw=0.5, zorder=0)
        near = [at for at in named if size < 1.4 * at]
        named.setdefault(near[-1] if near else size, []).append(model)
    for size, models in named.items():
        ax.annotate(", ".join(models), (size, 1), (-2, -2), xycoords=("data", "axes fraction"),
                    textcoords="offset points", rotation=90, ha="right", va="top", fontsize=6,
                    color="#888888")  # fmt: skip
    ax.margins(x=0.12)


def _line(
    ax: Axes, mine: list[dict[str, Any]], size: dict[str, int], count: str, colour: str
) -> Line2D:
    points = sorted(mine, key=lambda r: size[r["model"]])
    x, y = [size[r["model"]] for r in points], [r[f"{count}_ratio"] for r in points]
    if count != "macs":
        low = [r[f"{count}_ratio"] - r[f"{count}_low"] for r in points]
        high = [r[f"{count}_high"] - r[f"{count}_ratio"] for r in points]
        ax.errorbar(x, y, [low, high], fmt="none", lw=1, color=colour)
    return ax.plot(x, y, color=colour, marker="o", lw=1.2, ms=4)[0]
