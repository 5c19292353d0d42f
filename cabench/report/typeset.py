"""PDFs from the package's templates. Their bytes depend on nothing but the texts and drawings."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from cabench.errors import CabenchError
from cabench.records.spec import Json

try:
    import typst
except ImportError:
    raise CabenchError("PDFs need the library 'typst': pip install 'typst>=0.14'") from None

STYLE = "style.typ"


def compile_template(template: str, draw: Callable[[Path], Json]) -> bytes:
    """The PDF of a template. `draw` writes images into a directory and returns the texts.

    Texts reach the template as JSON, so nothing in them is read as markup. Only the fonts shipped
    with typst and SVGs of ours are used, and no date is written.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.json").write_text(json.dumps(draw(folder)), encoding="utf-8")
        for file in (template, STYLE):
            (folder / file).write_bytes((resources.files("cabench.report") / file).read_bytes())
        return typst.compile(folder / template, root=folder, format="pdf", ignore_system_fonts=True)
