"""README and docs: links resolve, commands parse, numbers are those of the reference."""

from __future__ import annotations

import re
import shlex

import pandas as pd
import pytest
from specs import ROOT
from typer.main import get_command

from cabench.commands.app import app

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
REFERENCE = ROOT / "results" / "reference"
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_readme_fits_on_150_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_resolve(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.split("#")[0] for link in links if "://" not in link]
    assert not [link for link in local if link and not (page.parent / link).exists()]


def commands(page) -> list[str]:
    """The `cabench ...` commands of code blocks, continuation lines joined."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [line for line in lines if line.startswith("cabench ")]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_parse(page):
    group = get_command(app)
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if words[0].startswith("-"):
            assert words[0] in {name for option in group.params for name in option.opts}, line
            continue
        command, rest = group, words
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, line
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for option in command.params for name in option.opts}
        used = [word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
        assert set(used) <= known, line


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_readmes_table_is_that_of_the_reference():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Results")[1]
    shown = {re.sub(r" \(.*|\*", "", row[0]): row[1:] for row in rows_of(text.split("\n## ")[0])}
    head, _, *rows = rows_of((REFERENCE / "layer_placement.quick" / "table.md").read_text("utf-8"))
    committed = pd.DataFrame(rows[: rows.index(next(r for r in rows if r[0] == "real vs real"))])
    columns = [1, 2, 4, 5, 7, 9]  # KID, its difference, accuracy, held-out loss, MACs, params
    assert [head[i].split(" ")[0] for i in columns[:2]] == ["KID-lite0", "diff."]
    for row in committed.to_numpy().tolist():
        cells = [re.sub(r" \(n=3\)", "", row[i]).replace("baseline", "") for i in columns]
        assert shown[row[0]] == cells, row[0]
