"""Draws the README's figure from the committed reference run: `python scripts/readme_figure.py`.

Left: each arm's difference to the control in KID. Right: samples of five arms with the same seed.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cabench.analysis.grids import Grids, sample_grids
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA
from cabench.records.runs import find_run

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "layer_placement.png"
ARMS = ("unconditional", "native+dw", "native+can-3", "can-3", "can-all")  # with samples shown
COMPARED = ("native", "native+can-3", "can-3", "can-3-matched", "can-all")  # in the forest plot
BLUE, ORANGE, INK, PALE = "#0072b2", "#d55e00", "#222222", "#e6e6e6"
WIDTH, HEIGHT, DPI = 9.0, 3.2, 200  # the README shows it about 900 px wide: 1 pt is 1.4 px


def forest(axes: Axes, results: Results) -> None:
    """Mean, 95 % interval and seeds of each arm's paired difference to the baseline."""
    metric = results.primary
    rows = [row for row in results.compare_arms([metric.name]) if row.arm in COMPARED]
    for y, row in enumerate(rows):
        effect = row.difference.scaled(metric.scale)
        colour = BLUE if results.has_native(row.arm) else ORANGE
        axes.plot([effect.low, effect.high], [y, y], color=colour, lw=2, solid_capstyle="round")
        axes.plot(effect.values, np.full(effect.n, y - 0.27), ".", color=colour, ms=3.5, alpha=0.6)
        face = colour if row.p_holm < ALPHA else "white"
        axes.plot(effect.mean, y, "o", ms=6, mfc=face, mec=colour, mew=1.5)
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(rows)), [row.arm for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color=PALE, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{metric.label}: difference to {results.manifest.baseline}  (← better)")
    axes.locator_params(axis="x", nbins=5)


def legend(axes: Axes) -> None:
    """Explains colours and fills, above the forest plot."""
    styles = {
        "with adaLN-Zero": {"color": BLUE, "lw": 2},
        "CAN in its place": {"color": ORANGE, "lw": 2},
        "p < .05": {"color": INK, "marker": "o", "lw": 0, "ms": 5},
        "not significant": {"color": INK, "marker": "o", "lw": 0, "ms": 5, "mfc": "white"},
    }
    handles = [Line2D([], [], label=label, **style) for label, style in styles.items()]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.03, 1.0),
        ncols=2,
        frameon=False,
        fontsize=8,
        handlelength=1.4,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def samples(axes: Axes, grids: Grids) -> None:
    """A row per arm, real images first; a column per class."""
    assert grids.real is not None
    rows = {"real images": grids.real, **{arm: grids.samples[arm] for arm in ARMS}}
    cell, gap = grids.real.shape[-1], 1
    step = cell + gap
    page = np.full((len(rows) * step - gap, len(grids.columns) * step - gap), 255, np.uint8)
    for y, images in enumerate(rows.values()):
        for x in range(len(grids.columns)):
            page[y * step : y * step + cell, x * step : x * step + cell] = images[x, 0, 0]
    axes.imshow(page, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    centres = [i * step + cell / 2 for i in range(max(len(rows), len(grids.columns)))]
    axes.set_yticks(centres[: len(rows)], list(rows))
    axes.set_xticks(
        centres[: len(grids.columns)],
        list(grids.columns),
        rotation=45,
        ha="left",
        rotation_mode="anchor",
    )
    axes.tick_params(length=0, labeltop=True, labelbottom=False, pad=2)
    axes.spines[:].set_visible(False)


def main() -> None:
    run = find_run(ROOT / "results" / "reference", "layer_placement", "quick")
    results = Results.of(run)
    grids = sample_grids(results, run.store)
    assert grids is not None
    matplotlib.rcParams |= {"font.size": 8.5, "text.color": INK, "axes.labelcolor": INK}
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    left = figure.add_axes((0.14, 0.15, 0.30, 0.70))
    right = figure.add_axes((0.565, 0.04, 0.405, 0.78), anchor="S")
    forest(left, results)
    legend(left)
    samples(right, grids)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, bbox_inches="tight", pad_inches=0.06)


if __name__ == "__main__":
    main()
