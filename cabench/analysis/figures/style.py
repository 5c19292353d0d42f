"""What all figures share: a palette for colour-blind readers, text sizes, looks, saving."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from cabench.runtime.files import atomic_path, write_json

# Okabe & Ito 2008, "Color Universal Design": the first two tell the ladders apart.
NATIVE, ALONE, BOUND = "#0072B2", "#D55E00", "#8a8a8a"
INK, FAINT = "#222222", "#c8c8c8"
# Okabe & Ito without yellow, then Paul Tol's "muted": order chosen so that neighbours differ.
CYCLE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#332288",
    "#117733",
    "#882255",
    "#999933",
    "#44AA99",
    "#AA4499",
    "#661100",
    "#6699CC",
)
DPI = 150
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "cabench",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Look:
    """Where a figure will stand."""

    size: float  # of text, relative to RC
    width: float | None = None  # inches of all figures; None: each has its own
    titled: bool = True  # title and small print in the picture, else beside it as JSON


SCREEN = Look(1.0)  # a PNG and an SVG that stand alone
PAGE = Look(0.85, width=6.69, titled=False)  # an SVG for a column of 170 mm, captioned there


def ladder(native: bool, bound: bool = False) -> str:
    """The colour of an arm's ladder: on top of the native method, or alone."""
    return BOUND if bound else NATIVE if native else ALONE


@contextmanager
def sheet(width: float, height: float, look: Look = SCREEN) -> Iterator[Figure]:
    """An empty figure in inches, constrained layout, our text sizes."""
    sized = {
        k: v * look.size if isinstance(v, float | int) and "size" in k else v for k, v in RC.items()
    }
    with matplotlib.rc_context(sized):
        figure = Figure(figsize=(look.width or width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08 * look.size, h_pad=0.06 * look.size)
        yield figure


def finish(figure: Figure, path: str | Path, look: Look, title: str, text: str) -> list[Path]:
    """Saves with title and small print: in the picture, or beside it for a page to set."""
    if look.titled:
        caption(figure, title, text)
        return save(figure, path)
    written = save(figure, path, ("svg",))
    width, height = figure.get_size_inches()
    words = written[0].with_suffix(".json")
    write_json(words, {"title": title, "text": text, "width": width, "height": height})
    return [*written, words]


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
    """`path` in each kind, its suffix replaced; atomic; equal input gives equal bytes."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".png", ".svg") else path
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    for file, kind in zip(written, kinds, strict=True):
        with atomic_path(file) as part:
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(part, format=kind, dpi=DPI, metadata=metadata)
    return written
