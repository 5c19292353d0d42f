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


def test_what_the_page_and_the_notebook_read_is_there(folder, monkeypatch):
    """Their code up to the first run of a study."""
    monkeypatch.chdir(folder)
    names = run_page(only_reading=True)
    assert list(names["kid"].columns) == list(names["frame"].columns)
    assert Image.open("forest.png").width > 1000
    monkeypatch.chdir(folder / "examples")  # where Jupyter opens it
    shown = run_notebook(only_reading=True)
    kinds = (cabench.StudyResults, pd.DataFrame, Image.Image, pd.DataFrame)
    assert all(isinstance(*pair) for pair in zip(shown, kinds, strict=True))
    assert Path.cwd() == folder


@pytest.mark.full
def test_the_whole_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = run_page()
    assert set(names["results"].arms) >= {"can-3", "native+lora"}
    assert names["images"].shape == (8, 1, 8, 8)
    assert Image.open("grid.png").width > 50


@pytest.mark.full
def test_the_whole_notebook_runs(folder, monkeypatch):
    monkeypatch.chdir(folder / "examples")
    shown = run_notebook()
    frames = [value for value in shown if isinstance(value, pd.DataFrame)]
    assert len(frames) == 3 and all(len(frame) for frame in frames)
    images = [np.asarray(value.convert("L")) for value in shown if isinstance(value, Image.Image)]
    assert len(images) == 2 and all(image.std() > 10 for image in images)
    assert shown[-1] is True  # saved samples, drawn again


def run_page(only_reading: bool = False) -> dict[str, Any]:
    """Run the code blocks of the page; return the names that they define."""
    names: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "python.md", "python"):
        if only_reading and "run_study(" in block:
            break
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def run_notebook(only_reading: bool = False) -> list[Any]:
    """Run the code cells, none of which has output; return what they show."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    names: dict[str, Any] = {}
    values = []
    for source in ("".join(cell["source"]) for cell in cells):
        if only_reading and "run_study(" in source:
            break
        values.append(run_cell(source, names))
    return [value for value in values if value is not None]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; return the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)
