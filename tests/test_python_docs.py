"""The code of docs/python.md and the notebook of examples/ run from first line to last."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from specs import ROOT
from test_docs import blocks

import cabench

pytestmark = pytest.mark.slow
NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone with its studies and committed results, where nothing has run."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").mkdir()
    (folder / "results").mkdir()
    (folder / "studies").symlink_to(ROOT / "studies")
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    return folder


def test_every_public_name_is_on_the_page_and_has_a_docstring():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in cabench.__all__:
        assert f"`{name}" in text, name
        assert len(getattr(cabench, name).__doc__) > 40, name


def test_the_examples_of_the_page_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert set(names["results"].arms) >= {"can-3", "native+lora"}
    assert names["images"].shape == (8, 1, 8, 8)
    assert Image.open("grid.png").size > (50, 50)


def test_the_notebook_runs(folder, monkeypatch):
    monkeypatch.chdir(folder / "examples")  # where Jupyter opens it
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    names: dict[str, Any] = {}
    shown = [
        value for cell in cells if (value := run_cell("".join(cell["source"]), names)) is not None
    ]
    assert Path.cwd() == folder
    frames = [value for value in shown if isinstance(value, pd.DataFrame)]
    assert len(frames) == 3 and all(len(frame) for frame in frames)
    images = [np.asarray(value.convert("L")) for value in shown if isinstance(value, Image.Image)]
    assert len(images) == 2 and all(image.std() > 10 for image in images)
    assert shown[-1] is True  # saved samples, drawn again


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; return the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)
