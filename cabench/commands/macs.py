"""The command `macs`: parameters and MACs of published models beside the published figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from cabench.config.schema import Arm
from cabench.cost import published
from cabench.cost.macs import cost
from cabench.cost.published import (
    CLASSES,
    NOTES,
    cells,
    off,
    ratio_line,
    ratios,
    rows,
)
from cabench.errors import CabenchError
from cabench.planning.methods import Network
from cabench.planning.models import resolve_models
from cabench.plugins import Plugin, load_plugins, read_plugins
from cabench.registry import METHODS, plugin_of
from cabench.report.macs import write_pdf
from cabench.runtime.console import wide_screen
from cabench.runtime.files import write_csv


def show_published(path: Path | None, pdf: Path | None = None, plugins: Iterable[Path] = ()) -> int:
    """Print the table; return 1 if a count differs by more than the tolerance.

    With plugins, print what their methods add to the published sizes instead.
    """
    if own := read_plugins(plugins):
        return show_methods(own)
    counts = rows()
    console = wide_screen()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("side", no_wrap=True)
    for title in ("M params (p.)", "GMACs (publ.)", "off by"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for r in counts:
        model, latent, params, of, macs, published, off_by, _, _, source = cells(r)
        table.add_row(
            model,
            latent.split("x")[0],
            (f"{params} ({of})" if of else params).replace("M", ""),
            f"{macs} ({published})",
            off_by,
            source.replace("published", "publ."),
        )
    console.print(table)
    for r in ratios(counts):
        console.print(ratio_line(r), soft_wrap=True)
    for note in NOTES:
        console.print(note, soft_wrap=True)
    if path is not None:
        write_csv(path, counts)
        console.print(f"written: {path}", soft_wrap=True)
    if pdf is not None:
        write_pdf(pdf, [cells(r) for r in counts], [ratio_line(r) for r in ratios(counts)], NOTES)
        console.print(f"written: {pdf}", soft_wrap=True)
    return int(any(map(off, counts)))


def show_methods(plugins: Sequence[Plugin]) -> int:
    """Print the cost of the plugins' methods beside the native ones; return 0."""
    load_plugins(plugins)
    own = [name for name in METHODS.names() if plugin_of(METHODS.get(name))]
    if not own:
        raise CabenchError(f"--plugin: {plugins[0].path}: it registers no method")
    console = wide_screen()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("method", "model", "M params", "GMACs", "added"):
        table.add_column(title, justify="left" if title in ("method", "model") else "right")
    smallest = {model.kind: model for model in reversed(published.MODELS)}.values()
    for name in own:
        for model in sorted(smallest, key=lambda model: model.name):
            network = Network(
                model.kind,
                model.preset,
                model.patch,
                (4, model.side, model.side),
                classes={"label": CLASSES},
                needs=["label"],
            )
            arms = {"native": Arm(methods=["native"]), "own": Arm(methods=["native", name])}
            try:
                models = resolve_models(arms, network)
            except CabenchError as error:
                console.print(f"{name}: not on {model.name}: {error}", soft_wrap=True)
                continue
            native, with_own = (cost(models[arm].spec, meta=True) for arm in arms)
            total = with_own.macs.total
            table.add_row(
                name,
                model.name,
                f"{with_own.params.total / 1e6:.1f}",
                f"{total / 1e9:.2f}",
                f"{(total - native.macs.total) / 1e9:.3f}",
            )
    console.print(table)
    console.print("beside the native method; added: GMACs more than without the plugin's method")
    return 0
