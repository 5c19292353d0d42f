"""The primary metric after each length of training, and its paired difference to the baseline."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from cabench.analysis.figures.arms import LINE, arm_styles, draw_estimates, label_ends
from cabench.analysis.figures.curves import thousands
from cabench.analysis.figures.style import (
    FAINT,
    INK,
    SCREEN,
    Look,
    directed_title,
    finish,
    new_figure,
)
from cabench.evidence.arms import ArmResult
from cabench.evidence.results import Results

SIDE = 0.006  # shift of an arm's points against the next arm's, as a share of the images


def lengths(path: str | Path, results: Results, look: Look = SCREEN) -> list[Path]:
    """Draw means and 95 % intervals; nothing is drawn where the study has one length."""
    after = results.by_length
    arms = results.contenders
    if len(after) < 2:
        return []
    rows = {images: _rows(each) for images, each in after.items()}
    styles = arm_styles(results, arms)
    low, line = (4.2, LINE) if look.titled else (2.9, look.size * LINE)
    width, height = 8.2 + 0.075 * max(map(len, arms)), max(low, 1.4 + line * len(arms))
    scale = results.primary.scale
    with new_figure(width, height, look) as figure:
        left, right = figure.subplots(1, 2)
        ends: dict[str, tuple[float, float]] = {}
        for i, arm in enumerate(arms):
            shift = 1 + SIDE * (i - (len(arms) - 1) / 2)
            levels = {n * shift: row[arm].level.scaled(scale) for n, row in rows.items()}
            draw_estimates(left, levels, styles[arm])
            if arm != results.manifest.baseline:
                effects = {n * shift: row[arm].difference.scaled(scale) for n, row in rows.items()}
                if points := draw_estimates(right, effects, styles[arm]):
                    ends[arm] = points[-1]
        if all(row[arm].level.mean > 0 for row in rows.values() for arm in arms):
            left.set_yscale("log")
            left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            left.yaxis.set_major_formatter("{x:g}")
            left.yaxis.set_minor_formatter(NullFormatter())
        right.axhline(0, color=INK, linewidth=0.9, zorder=1)
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(list(after), [thousands(images) for images in after])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("training images")
            axes.grid(axis="y", color=FAINT, linewidth=0.4)
        label_ends(right, ends, styles, look, height)
        left.set_title(directed_title(results.primary))
        right.set_title(f"minus {results.manifest.baseline}'s, paired by seed")
        sequential = results.manifest.design.sequential
        spread = "standard deviation" if sequential else "95 % interval"
        text = (
            f"Mean and {spread} over seeds; differences with 95 % intervals. Each length ends with "
            "its own decay of the rate, if the recipe has one."
        )
        return finish(figure, path, look, "Score by length of training", text)


def _rows(results: Results) -> dict[str, ArmResult]:
    return {row.arm: row for row in results.compare_arms([results.primary.name])}
