"""What all figures share: colours, text sizes, captions and saving."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.figure import Figure
from PIL import Image

from cabench.evidence.metric import Metric
from cabench.runtime.files import atomic_path, write_json

# Okabe & Ito 2008, "Color Universal Design": safe for colour-blind readers.
NATIVE, ALONE, BOUND = "#0072B2", "#D55E00", "#8a8a8a"
INK, FAINT = "#222222", "#c8c8c8"
# Okabe & Ito without yellow, then Paul Tol's "muted": ordered so that neighbours differ.
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
VECTOR_DPI = 72  # of vector formats, whatever `savefig` says
# Formats of a figure for a screen, with the metadata that leaves out the date
UNDATED: dict[str, Any] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
RC: dict[Any, Any] = {
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
    "pdf.fonttype": 42,  # TrueType: text that can be searched and edited
    "figure.autolayout": False,  # whatever the user's matplotlibrc says: see `_lay_out`
    "figure.constrained_layout.use": False,
}


@dataclass(frozen=True)
class Look:
    """How a figure is drawn: for a screen, or for a page that sets its title and caption."""

    # fmt: off
    size: float                   # of text, relative to RC
    width: float | None = None    # inches, for all figures; None: each has its own
    titled: bool = True           # title and caption inside the figure; else beside it, as JSON
    # fmt: on


SCREEN = Look(1.0)  # a PNG, an SVG and a PDF that stand alone
PAGE = Look(0.85, width=6.69, titled=False)  # an SVG for a column of 170 mm


@contextmanager
def new_figure(width: float, height: float, look: Look = SCREEN) -> Iterator[Figure]:
    """An empty figure of `width` x `height` inches with our text sizes and a tight layout."""
    sizes = {name: value * look.size for name, value in RC.items() if "size" in name}
    with matplotlib.rc_context(RC | sizes):
        figure = Figure(figsize=(look.width or width, height), layout="constrained")
        if engine := figure.get_layout_engine():
            padding = {"w_pad": 0.08 * look.size, "h_pad": 0.06 * look.size}
            engine.set(**padding)
        yield figure


def finish(figure: Figure, path: str | Path, look: Look, title: str, text: str) -> list[Path]:
    """Save a figure with its title and caption: inside it, or beside it for a page to set."""
    if look.titled:
        write_caption(figure, title, text)
        return save(figure, path)
    written = save(figure, path, ("svg",))
    width, height = figure.get_size_inches()
    words = written[0].with_suffix(".json")
    write_json(words, {"title": title, "text": text, "width": width, "height": height})
    return [*written, words]


def write_caption(figure: Figure, title: str, text: str) -> None:
    """A title above and a caption below, both left-aligned, wrapped to the figure's width."""
    columns = int(figure.get_figwidth() * 17)
    title = textwrap.fill(title, int(figure.get_figwidth() * 10))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    figure.supxlabel(
        textwrap.fill(text, columns),
        x=0.01,
        ha="left",
        fontsize=7.5,
        color="#555555",
        parse_math=False,
    )


def axis_title(label: str) -> str:
    """'KID x10^3 @2000' with a raised exponent, in matplotlib's mathtext."""
    return re.sub(r"x10\^(-?\d+)", r"×10$^{\1}$", label.replace("$", r"\$"))


def directed_title(metric: Metric) -> str:
    """'KID @2000 (lower is better)', as a title of an axis."""
    better = "higher" if metric.higher_is_better else "lower"
    return f"{axis_title(metric.title_without_arrow)} ({better} is better)"


def save(figure: Figure, path: str | Path, kinds: Sequence[str] = tuple(UNDATED)) -> list[Path]:
    """Save `path` in each format, atomically; equal figures give equal bytes."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix.removeprefix(".") in UNDATED else path
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    _lay_out(figure, kinds[0])
    for file, kind in zip(written, kinds, strict=True):
        drawn = io.BytesIO()  # on a full disk, matplotlib's own writing of a PDF hides the reason
        figure.savefig(drawn, format=kind, dpi=DPI, metadata=UNDATED[kind])
        with atomic_path(file) as part:
            part.write_bytes(drawn.getvalue())
    return written


def as_pdf(image: Path) -> Path:
    """Write a PDF of one page beside a PNG, with its pixels, none lost or smoothed."""
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[:2]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width / DPI, height / DPI))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none", aspect="auto")
        return save(figure, image, ("pdf",))[0]


def _lay_out(figure: Figure, kind: str) -> None:
    """Fix the layout for text as it is in format `kind`, and remove its engine.

    With an engine, even one that does nothing, `savefig` draws the figure twice in each format.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return
    usual = figure.get_dpi()
    get_registered_canvas_class(kind)(figure)
    figure.set_dpi(DPI if kind == "png" else VECTOR_DPI)
    engine.execute(figure)
    figure.set_layout_engine(None)
    figure.set_dpi(usual)
