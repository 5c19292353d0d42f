"""The command `macs`: parameters and MACs of published models beside the published figures."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from cabench.cost.published import NOTES, cells, off, ratio_line, ratios, rows
from cabench.report.macs import write_pdf
from cabench.runtime.console import wide_screen
from cabench.runtime.files import write_csv


def show_published(path: Path | None, pdf: Path | None = None) -> int:
    """Print the table; return 1 if a count differs by more than the tolerance."""
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
