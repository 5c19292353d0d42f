"""The study's pictures, for a screen or for a page. No display needed."""

from cabench.analysis.figures.bins import bins
from cabench.analysis.figures.cost import cost
from cabench.analysis.figures.curves import curves
from cabench.analysis.figures.forest import forest
from cabench.analysis.figures.grid import grid
from cabench.analysis.figures.prompts import prompted
from cabench.analysis.figures.strip import strip
from cabench.analysis.figures.style import PAGE, SCREEN, Look
from cabench.analysis.figures.weight_curves import weight_curves
from cabench.analysis.figures.weights import weights

__all__ = [
    "PAGE",
    "SCREEN",
    "Look",
    "bins",
    "cost",
    "curves",
    "forest",
    "grid",
    "prompted",
    "strip",
    "weight_curves",
    "weights",
]
