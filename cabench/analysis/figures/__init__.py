"""Figures of a study, for a screen or for a page. Needs no display.

STUDY_FIGURES is the one list of figures that a run draws and that a report shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.figures.bins import bins
from cabench.analysis.figures.claim import claim
from cabench.analysis.figures.cost import cost
from cabench.analysis.figures.curves import curves
from cabench.analysis.figures.forest import forest
from cabench.analysis.figures.grid import grid
from cabench.analysis.figures.guidance import guidance
from cabench.analysis.figures.lengths import lengths
from cabench.analysis.figures.prompts import prompted
from cabench.analysis.figures.strip import strip
from cabench.analysis.figures.style import PAGE, SCREEN, Look, as_pdf
from cabench.analysis.figures.weight_curves import weight_curves
from cabench.analysis.figures.weights import weights
from cabench.evidence.results import Results


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study's results."""

    # fmt: off
    name: str                                              # of its file
    draw: Callable[[Path, Results, Look], list[Path]]      # [] where it does not apply
    absent: str                                            # what a report says in its place
    # fmt: on


STUDY_FIGURES = (
    StudyFigure(
        "forest",
        forest,
        "No forest plot: no arm has a complete trial on a seed that the baseline also completed.",
    ),
    StudyFigure("cost", cost, "No figure of quality against cost: no arm has score and counts."),
    StudyFigure("lengths", lengths, ""),  # applies where a scale has several lengths
    StudyFigure("guidance", guidance, ""),  # applies from three values of guidance on
    StudyFigure("curves", curves, "No figure of the held-out loss: no curves were recorded."),
    StudyFigure("bins", bins, "No figure of the loss by noise bin: no bins were recorded."),
    StudyFigure("weights", weights, "No figures of generated weights: none were recorded."),
    StudyFigure("weight_curves", weight_curves, ""),  # applies where `weights` does
)

__all__ = [
    "PAGE",
    "SCREEN",
    "STUDY_FIGURES",
    "Look",
    "StudyFigure",
    "as_pdf",
    "bins",
    "claim",
    "cost",
    "curves",
    "forest",
    "grid",
    "guidance",
    "lengths",
    "prompted",
    "strip",
    "weight_curves",
    "weights",
]
