"""What all figures share: a palette for colour-blind readers, text sizes, saving as PNG and SVG."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

# Okabe & Ito 2008, "Color Universal Design": the first two tell the ladders apart.
NATIVE, ALONE, BOUND = "#0072B2", "#D55E00", "#8a8a8a"
INK, FAINT = "#222222", "#c8c8c8"
# Okabe & Ito without yellow, then Paul Tol's "muted": order chosen so that neighbours differ.
CYCLE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#117733",
    "#882255", "#999933", "#44AA99", "#AA4499", "#661100", "#6699CC",
)  # fmt: skip
DPI = 150
RC = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9,
    "xtick.labelsize": 8, "ytick.labelsize": 8.5, "axes.edgecolor": INK, "text.color": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "cabench",
}  # fmt: skip


def ladder(native: bool, bound: bool = False) -> str:
    """The colour of an arm's ladder: on top of the native method, or alone."""
    return BOUND if bound else NATIVE if native else ALONE


@contextmanager
def sheet(width: float, height: float) -> Iterator[Figure]:
    """An empty figure in inches, constrained layout, our text sizes."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
        yield figure


def caption(figure: Figure, title: str, text: str) -> None:
    """A title above and small print below, both to the left, wrapped to the figure's width."""
    columns = int(figure.get_figwidth() * 17)
    title = textwrap.fill(title, int(figure.get_figwidth() * 10))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    figure.supxlabel(textwrap.fill(text, columns), x=0.01, ha="left", fontsize=7.5, color="#555555")


def axis_title(label: str) -> str:
    """'KID x10^3 @2000' with a raised exponent."""
    return re.sub(r"x10\^(-?\d+)", r"×10$^{\1}$", label)


def save(figure: Figure, path: str | Path, kinds: tuple[str, ...] = ("png", "svg")) -> list[Path]:
    """`path` in each kind, its suffix replaced; equal input gives equal bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.with_suffix("") if path.suffix in (".png", ".svg") else path
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    for file, kind in zip(written, kinds, strict=True):
        figure.savefig(file, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return written
