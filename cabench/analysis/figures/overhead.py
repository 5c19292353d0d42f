"""What conditioning costs beside the static control, over the network's size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from cabench.analysis.figures.style import CYCLE, FAINT, SCREEN, Look, finish, sheet

if TYPE_CHECKING:
    from cabench.config.cost_study import CostStudy

PANELS = {
    "macs": "MACs",
    "step": "training step",
    "sampling": "sampling run",
    "latency": "sampling one picture",
}
MARKERS = "os^D"  # after each round of colours the next


def overhead(
    path: str | Path, study: CostStudy, table: list[dict[str, Any]], look: Look = SCREEN
) -> list[Path]:
    """Ratio to the baseline (log) over the baseline's MACs (log); whiskers: 95 % intervals.

    A row for each backbone, a panel in it for each of PANELS that there is.
    """
    backbones = list(dict.fromkeys(m.backbone for m in study.models.values()))
    on = {r["model"]: study.models[r["model"]].backbone for r in table}
    panels = [
        (backbone, count)
        for backbone in backbones
        for count in PANELS
        if any(f"{count}_ratio" in r for r in table if on[r["model"]] == backbone)
    ]
    arms = [a for a in study.arms if a != study.baseline]
    counts = [count for count in PANELS if any(count == c for _, c in panels)]
    shown = [backbone for backbone in backbones if any(backbone == b for b, _ in panels)]
    if len(shown) == len(study.models):
        return by_arm(path, study, table, counts, look)
    with sheet(3.0 * len(counts) + 1.9, 1.0 + 3.1 * len(shown), look) as figure:
        grid = figure.subplots(len(shown), len(counts), sharey="row", squeeze=False)
        for ax in grid.flat:
            ax.set_visible(False)
        drawn = {}
        for backbone, count in panels:
            ax = grid[shown.index(backbone)][counts.index(count)]
            ax.set_visible(True)
            mine = [r for r in table if on[r["model"]] == backbone and f"{count}_ratio" in r]
            ax.axhline(1, color=FAINT, zorder=0)
            size = sizes(study, table)
            _name_models(ax, {r["model"]: size[r["model"]] for r in mine})
            for i, arm in enumerate(arms):
                for alike in by_tokens(study, [r for r in mine if r["arm"] == arm]):
                    mark = MARKERS[i // len(CYCLE) % len(MARKERS)]
                    line = _line(ax, alike, size, count, CYCLE[i % len(CYCLE)], mark)
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
        for row in grid:
            row[0].set_ylabel(f"of {study.baseline}'s")
        figure.legend(drawn.values(), drawn, loc="outside right center", frameon=False)
        return finish(
            figure,
            path,
            look,
            study.question,
            f"Each point: a model with the arm over the same model with {study.baseline}; "
            "lines join models of equally many tokens. "
            + "Times are ratios of one run on one thread of one machine."
            * any(count != "macs" for _, count in panels),
        )


def by_arm(
    path: str | Path, study: CostStudy, table: list[dict[str, Any]], counts: list[str], look: Look
) -> list[Path]:
    """One model of each backbone: ratios (log) to the baseline with the arms below each other."""
    arms = [a for a in study.arms if a != study.baseline][::-1]
    with sheet(
        2.6 * len(counts) + 1.9,
        1.2 + 0.75 * len(study.models) + 0.15 * len(arms) * len(study.models),
        look,
    ) as figure:
        grid = figure.subplots(
            len(study.models), len(counts), sharex="col", sharey="row", squeeze=False
        )
        for row, model in zip(grid, study.models, strict=True):
            for ax, count in zip(row, counts, strict=True):
                ax.axvline(1, color=FAINT, zorder=0)
                found = {r["arm"]: r for r in table if r["model"] == model}
                for y, arm in enumerate(arms):
                    if f"{count}_ratio" not in found.get(arm, {}):
                        continue
                    middle = found[arm][f"{count}_ratio"]
                    ends = [found[arm].get(f"{count}_{end}", middle) for end in ("low", "high")]
                    ax.plot(ends, [y, y], color=CYCLE[0], lw=1.2)
                    ax.plot(middle, y, "o", color=CYCLE[0], ms=3.5)
                ax.set_xscale("log")
                ax.set_yticks(range(len(arms)), arms, fontsize=6.5 * look.size)
                ax.grid(axis="y", lw=0.3, color=FAINT)
                for kind in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
                    kind(FuncFormatter(lambda v, _: f"{v:.3g}x"))
                ax.xaxis.set_major_locator(MaxNLocator(5))
                ax.xaxis.set_minor_locator(NullLocator())
                ax.set_title(f"{model}: {PANELS[count]}", loc="left", fontsize=8.5 * look.size)
        return finish(
            figure,
            path,
            look,
            study.question,
            f"The arm over {study.baseline}; lines: 95 % intervals of the median over alternating "
            "rounds of one run on one thread of one machine.",
        )


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
        ax.annotate(
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
    ax.margins(x=0.12)


def _line(
    ax: Axes, mine: list[dict[str, Any]], size: dict[str, int], count: str, colour: str, mark: str
) -> Line2D:
    points = sorted(mine, key=lambda r: size[r["model"]])
    x, y = [size[r["model"]] for r in points], [r[f"{count}_ratio"] for r in points]
    if count != "macs":
        low = [r[f"{count}_ratio"] - r[f"{count}_low"] for r in points]
        high = [r[f"{count}_high"] - r[f"{count}_ratio"] for r in points]
        ax.errorbar(x, y, [low, high], fmt="none", lw=1, color=colour)
    return ax.plot(x, y, color=colour, marker=mark, lw=1.2, ms=4)[0]
