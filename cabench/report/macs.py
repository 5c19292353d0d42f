"""The table of `cabench macs` as a PDF page."""

from __future__ import annotations

import json
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import typst

from cabench import __version__
from cabench.cost.published import NOTES, cells, ratio_line, ratios
from cabench.records.store import atomic_path


def write_pdf(path: Path, rows: list[dict[str, Any]]) -> None:
    """Sets the rows of `cost.published.rows`; the same bytes for the same rows."""
    told = {
        "version": __version__,
        "rows": [cells(r) for r in rows],
        "ratios": [ratio_line(r) for r in ratios(rows)],
        "notes": NOTES,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.json").write_text(json.dumps(told), encoding="utf-8")
        template = resources.files("cabench.report") / "macs.typ"
        (folder / "macs.typ").write_bytes(template.read_bytes())
        pdf = typst.compile(
            folder / "macs.typ", root=folder, format="pdf", ignore_system_fonts=True
        )
    with atomic_path(path) as part:
        part.write_bytes(pdf)
