"""The table of `cabench macs` as a PDF page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from cabench.report.typeset import typst
from cabench.runtime.files import atomic_path
from cabench.version import __version__


def write_pdf(path: Path, rows: list[list[str]], ratios: list[str], notes: Iterable[str]) -> None:
    """Sets the table's cells, the lines of ratios and the notes; equal input gives equal bytes."""
    content = {"version": __version__, "rows": rows, "ratios": ratios, "notes": [*notes]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.json").write_text(json.dumps(content), encoding="utf-8")
        template = resources.files("cabench.report") / "macs.typ"
        (folder / "macs.typ").write_bytes(template.read_bytes())
        pdf = typst.compile(
            folder / "macs.typ", root=folder, format="pdf", ignore_system_fonts=True
        )
    with atomic_path(path) as part:
        part.write_bytes(pdf)
