"""The study's pictures: forest plot, loss curves, noise bins, sample grid. No display needed."""

from cabench.analysis.figures.bins import bins
from cabench.analysis.figures.curves import curves
from cabench.analysis.figures.forest import forest
from cabench.analysis.figures.grid import grid

__all__ = ["bins", "curves", "forest", "grid"]
