"""Draws the README's figure from the committed reference: `python scripts/readme_figure.py`.

Left: difference to the control in KID. Right: samples of five arms, same seed, labels and noise.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cabench.analysis.grids import Grids, sample_grids
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA
from cabench.records.runs import find_run

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "layer_placement.png"
ARMS = ("unconditional", "native", "native+dw", "native+can-dw", "can-3")  # whose samples are shown
BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#8a8a8a", "#222222"


def forest(axes: Axes, results: Results) -> None:
    """Mean, 95 % interval and seeds of each arm's paired difference to the baseline."""
    metric = results.primary
    rows = [r for r in results.compare_arms([metric.name]) if r.role == "arm"]
    for y, row in enumerate(rows):
        effect = row.difference.scaled(metric.scale)
        colour = BLUE if results.has_native(row.arm) else ORANGE
        axes.plot([effect.low, effect.high], [y, y], color=colour, lw=2.2, solid_capstyle="round")
        axes.plot(effect.values, np.full(effect.n, y - 0.24), ".", color=colour, ms=4, alpha=0.6)
        face = colour if row.p_holm < ALPHA else "white"
        axes.plot(effect.mean, y, "o", ms=7, mfc=face, mec=colour, mew=1.8)
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(rows)), [row.arm for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"difference in {metric.label} to {results.manifest.baseline}   (← better)")


def samples(axes: Axes, grids: Grids) -> None:
    """A row per arm, real images first; a column per class."""
    assert grids.real is not None
    rows = {"real images": grids.real, **{arm: grids.samples[arm] for arm in ARMS}}
    cell, gap = grids.real.shape[-1], 1
    step = cell + gap
    page = np.full((len(rows) * step, len(grids.columns) * step), 255, np.uint8)
    for y, images in enumerate(rows.values()):
        for x in range(len(grids.columns)):
            page[y * step : y * step + cell, x * step : x * step + cell] = images[x, 0, 0]
    axes.imshow(page, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    centres = [i * step + cell / 2 for i in range(max(len(rows), len(grids.columns)))]
    axes.set_yticks(centres[: len(rows)], list(rows))
    axes.set_xticks(centres[: len(grids.columns)], list(grids.columns), rotation=40, ha="left")
    axes.tick_params(length=0, labeltop=True, labelbottom=False, pad=2)
    axes.spines[:].set_visible(False)


def main() -> None:
    run = find_run(ROOT / "results" / "reference", "layer_placement", "quick")
    results = Results.of(run)
    grids = sample_grids(results, run.store)
    assert grids is not None
    matplotlib.rcParams |= {"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK}
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.12])
    forest(left, results)
    samples(right, grids)
    seeds = ", ".join(map(str, results.manifest.seeds))
    figure.supxlabel(
        f"Fashion-MNIST at 16x16, DiT nano, seeds {seeds}, paired. Circle: mean; bar: 95 % "
        "Student-t interval; dots: seeds;\nfilled: p < .05 after Holm. Blue: with adaLN-Zero; "
        f"orange: CAN in its place. Samples: seed {grids.seed}, guidance 1, one label and noise "
        "per column.",
        fontsize=8,
        color="#555555",
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=150)


if __name__ == "__main__":
    main()
