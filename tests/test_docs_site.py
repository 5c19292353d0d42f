"""The documentation as a site: every page is in the menu, generated pages are those of the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest
from cli import cabench
from packaging.version import Version
from ruamel.yaml import YAML
from specs import ROOT
from test_docs import blocks

from cabench.plugins import load_plugins

DOCS = ROOT / "docs"
COST = re.compile(r"^## Cost\n.*?(?=^## |^<!-- )", re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def no_plugin_stays():
    """The pages are those of the built-in parts; the worked example is not one of them."""
    load_plugins([])
    yield
    load_plugins([])


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of scripts/, which import one another."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module(name)


def entries(nav: Any) -> Iterator[str]:
    """The pages of a menu."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(each)


def test_every_page_is_in_the_menu_once():
    config = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = sorted(entries(config["nav"]))
    own = [page for page in named if not page.startswith("repository/")]
    assert own == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    for page in set(named) - set(own):  # scripts/docs_hooks.py adds what a page links to
        path = page.removeprefix("repository/")
        texts = [path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")]
        assert any(f"../{path}" in text for text in texts), page
        assert (ROOT / path).is_file(), page


@pytest.mark.skipif(
    Version(version("typer")) < Version("0.29") or Version(version("pydantic")) < Version("2.14"),
    reason="older versions word some entries otherwise",
)
@pytest.mark.parametrize("name", ["docs_commands", "docs_keys"])
def test_a_generated_page_is_that_of_the_code(name, monkeypatch):
    module = script(name, monkeypatch)
    assert module.PAGE.read_text("utf-8") == module.page(), f"run: python scripts/{name}.py"


def test_the_table_of_scales_and_the_picture_are_those_of_the_code(monkeypatch):
    keys, diagram = script("docs_keys", monkeypatch), script("docs_diagram", monkeypatch)
    studies = keys.STUDIES.read_text("utf-8")
    assert studies == keys.with_scales(studies), "run: python scripts/docs_keys.py"
    assert diagram.PAGE.read_text("utf-8") == diagram.image() + "\n"


def test_a_page_per_method_and_backbone_says_what_the_code_says(monkeypatch):
    module = script("docs_methods", monkeypatch)
    parts = module.pages(costs=False)
    written = {path for folder in ("methods", "backbones") for path in (DOCS / folder).glob("*.md")}
    assert written == set(parts)
    for path, part in parts.items():
        page = COST.sub("", path.read_text("utf-8"))
        assert page == COST.sub("", module.with_part(page, part)), (
            f"{path.name}: run: python scripts/docs_methods.py"
        )
        assert len(blocks(path, "math")) == 1, f"{path.name}: expected an equation"


@pytest.mark.parametrize(
    "name", ["can", *(pytest.param("all", marks=pytest.mark.full),)], ids=["can", "all"]
)
def test_the_cost_on_a_page_is_the_counted_one(name, monkeypatch):
    module = script("docs_methods", monkeypatch)
    one = {DOCS / "methods" / f"{name}.md": module.method_part}
    parts = module.pages() if name == "all" else {path: f(name) for path, f in one.items()}
    parts |= {module.OVERVIEW: module.overview()} if name == "all" else {}
    for path, part in parts.items():
        page = path.read_text("utf-8")
        assert page == module.with_part(page, part), "run: python scripts/docs_methods.py"


def test_the_study_in_full_is_a_valid_one(tmp_path):
    from cabench.config.study import read_study

    text = blocks(DOCS / "studies.md", "yaml")[0]
    (tmp_path / "my_study.yaml").write_text(text, encoding="utf-8")
    study = read_study(tmp_path / "my_study.yaml").study
    assert study.study == "my_study" and [claim.id for claim in study.claims] == ["M1"]


def test_the_worked_example_is_a_method_that_works(tmp_path):
    (code,) = blocks(DOCS / "architecture.md", "python")
    file = tmp_path / "block_shift.py"
    file.write_text(code, encoding="utf-8")
    done = cabench("plugin", "check", file)
    assert done.code == 0, done.out + done.err
    for backbone in ("dit", "uvit", "cat"):
        assert f"method 'block_shift': ok: on {backbone}:" in done.out
