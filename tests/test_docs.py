"""README and docs: links resolve, commands parse, numbers are those of the reference runs."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from specs import ROOT
from test_imports import LAYERS
from typer.main import get_command

from cabench.commands.app import app

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
REFERENCE = ROOT / "results" / "reference"
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))

Rows = list[list[str]]


def test_the_readme_fits_on_150_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_relative_links_resolve(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{language})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The `cabench ...` commands of code blocks, continuation lines joined."""
    lines = "\n".join(blocks(page, "sh|console")).replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [line for line in lines if line.startswith("cabench ")]


def mentions(page: Path) -> list[str]:
    """The `cabench ...` commands within text, some without their arguments."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [code.replace("\n", " ") for code in re.findall(r"`(cabench [^`]*)`", text)]


def problem(line: str) -> str | None:
    """Why a command line cannot be parsed, or None. Nothing is run."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    command: Any = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):  # options such as --version, which would act at once
        options = {name for option in command.params for name in option.opts}
        return None if set(words) <= options else f"no option {words[0]}"
    try:
        command.make_context(command.name, words)
    except Exception as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


@every_page
def test_commands_parse(page):
    for line in commands(page):
        assert problem(line) is None, line
        for path in re.findall(r"\b(?:studies|examples)/\S+\.\w+", line):
            assert (ROOT / path).is_file(), line
    if page.name != "CHANGELOG.md":  # which names commands of older versions
        for line in mentions(page):
            assert (problem(line) or "MissingParameter").startswith("MissingParameter"), line


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("cabench judges", "no command judges"),
        ("cabench data no-such-command", "no command no-such-command"),
        ("cabench --no-such-option", "no option --no-such-option"),
        ("cabench run study.yaml --no-such-option", "NoSuchOption"),
        ("cabench run study.yaml --seeds", "BadOptionUsage"),
        ("cabench run one.yaml two.yaml", "UsageError"),
        ("cabench run", "MissingParameter"),
    ],
)
def test_a_command_that_does_not_parse_is_noticed(line, why):
    assert (problem(line) or "").startswith(why)


def table(page: Path, first: str, heading: str = "") -> Rows:
    """The rows below the header row of the first table under `heading` that starts with `first`."""
    text = page.read_text(encoding="utf-8")
    lines = text[text.index(heading) :].splitlines()
    rows: Rows = []
    for line in lines[next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |")) :]:
        if not line.startswith("|"):
            break
        rows.append([cell.replace("*", "").strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def committed(run: str) -> dict[str, list[str]]:
    """The first table of a reference run: arm -> its cells; 'arm' -> the header."""
    return {row[0]: row for row in table(REFERENCE / run / "table.md", "arm")}


def test_every_reference_run_has_its_page():
    script = runpy.run_path(str(ROOT / "scripts" / "readme_results.py"))
    written = {p: p.read_text(encoding="utf-8") for p in (ROOT / "docs/results").glob("*.md")}
    pages = {path: text + "\n" for path, text in script["pages"]().items()}
    assert written == pages, "run: python scripts/readme_results.py"
    for path, text in pages.items():
        run = path.stem if "." in path.stem else f"{path.stem}.*"
        (table,) = (p.read_text("utf-8") for p in REFERENCE.glob(f"{run}/table.md"))
        assert table.split("\n", 1)[1].strip() in text, f"{path.stem}: table.md is not up to date"


def test_the_readmes_table_is_that_of_the_reference():
    script = runpy.run_path(str(ROOT / "scripts" / "readme_results.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["with_tables"](page), "run: python scripts/readme_results.py"
    shown = {re.sub(r" \(.*", "", r[0]): r for r in table(ROOT / "README.md", "arm", "## Results")}
    expected = committed("layer_placement.quick")
    assert [arm for arm in expected if arm in ("arm", *script["ARMS"], script["FLOOR"])] == list(
        shown
    )
    (mean,) = [i for i, title in enumerate(expected["arm"]) if title == "KID-lite0-8 @2000 ↓"]
    for arm in [name for name in shown if name != "arm"]:
        assert shown[arm][2] == re.sub(r" \(n=\d+\)", "", expected[arm][mean]), arm


def test_the_readmes_output_is_that_of_the_reference():
    text = blocks(ROOT / "README.md", "console")[0]
    lines = [re.split(r"  +", line) for line in text.splitlines() if "±" in line]
    expected = committed("layer_placement.quick")
    assert len(lines) >= 3
    for arm, n, *cells in lines:
        assert expected[arm][1].endswith(f"(n={n})"), arm
        assert cells == [re.sub(r" \(n=\d+\)", "", c) for c in expected[arm][1:5]], arm


def test_contributing_lists_the_packages_in_the_order_of_imports():
    packages = [row[0] for row in table(ROOT / "CONTRIBUTING.md", "package")[1:]]
    assert [name.strip("`/").removesuffix(".py") for name in packages] == LAYERS[1:]


def sections(page: Path) -> list[str]:
    """The text below each `## ` heading."""
    return re.split(r"^## .*\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("kind", ["method", "metric", "data", "backbone"])
def test_the_code_of_a_section_on_plugins_is_part_of_what_its_command_writes(kind, tmp_path):
    from cabench.commands.new import next_commands, skeleton

    (text,) = [t for t in sections(ROOT / "docs/plugins.md") if f"\ncabench new {kind} " in t]
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    lines = [" ".join(line.split(" #")[0].split()) for line in commands(page)]
    name = lines[0].split()[-1]
    source, code = skeleton(kind, name), blocks(page, "python")
    assert code and all(block in source for block in code)
    for line in next_commands(kind, name, Path(f"{name}.py")):
        assert problem(line) is None, line
        if "cabench try" not in line:  # in the section's text, since it takes minutes
            assert any(other.startswith(line.split(" -o ")[0]) for other in lines), line


def test_the_tables_of_conventions_are_those_of_the_code():
    script = runpy.run_path(str(ROOT / "scripts" / "conventions.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["with_tables"](page), "run: python scripts/conventions.py"
