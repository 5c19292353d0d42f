"""The command `list`: everything that a study can name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cabench import data as _data  # noqa: F401  (registers)
from cabench import metrics as _metrics  # noqa: F401  (registers)
from cabench.config.files import STUDIES, studies
from cabench.config.scale import Scale
from cabench.config.study import read_scale, scale_names
from cabench.config.yaml import Document
from cabench.errors import CabenchError, one_line, plural
from cabench.models import model as _model  # noqa: F401  (registers)
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import BACKBONES, DATASETS, METHODS, METRICS, TEXT_ENCODERS
from cabench.runtime.bundled import bundled
from cabench.runtime.console import screen


def first_line(thing: object) -> str:
    """The first line of an object's docstring."""
    return (thing.__doc__ or "").strip().split("\n")[0]


def scale_line(scale: Scale) -> str:
    """Seeds, training images and purpose of a scale."""
    return (
        f"{plural(scale.seeds, 'seed')}, {scale.training.images:,} images per trial; {scale.about}"
    )


def backbone_line(backbone: type) -> str:
    """Presets, sites and hooks of a backbone."""
    parts = {"presets": backbone.presets, "sites": backbone.sites, "hooks": backbone.hooks}
    return "; ".join(f"{title}: {', '.join(names)}" for title, names in parts.items())


def fits(method: type, backbone: type) -> str:
    """'yes', or what the backbone lacks for a method with its default options."""
    missing = [h for h in method.hooks if h not in backbone.hooks]
    try:
        sites = method.sites(method.Options(), backbone.sites)
        missing += [s for s in sites if s not in backbone.sites]
        source = method.Options().source
        if not missing and source not in ("both", "timestep", "label", "none"):
            return f"needs {source}"
    except Exception:  # whatever a plugin's code raises
        return "?"
    return f"no {', '.join(missing)}" if missing else "yes"


def study_line(path: Path) -> str:
    """A study's question, or why its file cannot be read."""
    try:
        return one_line(str(Document.read(path, "study").content.get("question", "")))
    except CabenchError as error:
        return str(error)


def study_label(name: str, path: Path) -> str:
    """The name of a study that comes with cabench, the path of any other."""
    return name if path.parent == bundled(STUDIES) else str(path)


def show_known(plugins: Iterable[Path] = ()) -> None:
    """Print everything that a study file can name, with what these plugins register."""
    load_plugins(read_plugins(plugins))
    sections = {
        "studies": {study_label(n, p): study_line(p) for n, p in sorted(studies().items())},
        "scales": {name: scale_line(read_scale(name).scale) for name in scale_names()},
        "backbones": {name: backbone_line(BACKBONES.get(name)) for name in BACKBONES.names()},
        "methods": {name: first_line(METHODS.get(name)) for name in METHODS.names()},
        "data sets": {name: first_line(DATASETS.get(name)) for name in DATASETS.names()},
        "text encoders": {n: first_line(TEXT_ENCODERS.get(n)) for n in TEXT_ENCODERS.names()},
        "metrics": {name: first_line(METRICS.get(name)) for name in METRICS.names()},
    }
    console = screen()
    for title, entries in sections.items():
        if title == "data sets":
            show_matrix(console)
        console.print(title, style="bold")
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, text in entries.items():
            table.add_row(f"  {name}", text)
        console.print(table)


def show_matrix(console: Console) -> None:
    """Which method, with its default options, acts on which backbone."""
    console.print("method on backbone", style="bold")
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("  acts on", *BACKBONES.names(), "native of"):
        table.add_column(title, no_wrap=True)
    natives = {
        name: [k for entry in BACKBONES.get(name).native for k in entry]
        for name in BACKBONES.names()
    }
    for name in METHODS.names():
        cells = [fits(METHODS.get(name), BACKBONES.get(b)) for b in BACKBONES.names()]
        of = ", ".join(b for b, methods in natives.items() if name in methods)
        table.add_row(f"  {name}", *cells, of)
    console.print(table)
