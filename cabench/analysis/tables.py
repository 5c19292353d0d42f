"""The study's table where it is read: terminal, Markdown, CSV."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from cabench.analysis import notes
from cabench.analysis.labels import fold
from cabench.analysis.ledger import ledger, outcome
from cabench.analysis.summary import NONE, Manifest, Records, guidance, summary
from cabench.evidence.frame import costs, failures, progress, tidy
from cabench.evidence.statistics import numbers
from cabench.evidence.verdicts import judge
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_path

__all__ = ["costs", "guidance", "ledger", "render", "show", "summary", "to_csv", "to_markdown"]

NAME_WIDTH = 26
COLOURS = {
    "better": "bold green",
    "worse": "bold red",
    "supported": "bold green",
    "contradicted": "bold red",
    "unresolved": "yellow",
    "not tested": "dim",
    "by construction": "green",
}
ASCII = str.maketrans({"±": "+-", "↓": "(low)", "↑": "(high)", "─": "-"})


# ---- the terminal ------------------------------------------------------------------------------


def show(manifest: Manifest, records: Records, console: Console | None = None) -> None:
    """Print the study's table; into a file or pipe as plain text of 120 columns (or $COLUMNS)."""
    console = console or screen()
    if console.is_terminal:
        console.print(render(manifest, records, console.width))
    else:
        width = int(console._environ.get("COLUMNS", 120))
        console.file.write(plain(manifest, records, width, console.encoding))


def plain(manifest: Manifest, records: Records, width: int = 120, encoding: str = "utf-8") -> str:
    """The rendered table as text, see `as_text`."""
    return as_text([render(manifest, records, width)], width, encoding)


def as_text(parts: list[Any], width: int, encoding: str = "utf-8") -> str:
    """What rich would print, without colour; ASCII only where the encoding can't say ±."""
    console = screen(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    text = "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return text.translate(ASCII).encode(encoding, "replace").decode(encoding)


def render(manifest: Manifest, records: Records, width: int = 100) -> Group:
    """All that a terminal of `width` columns shows: table (in blocks that fit), notes, claims."""
    body = summary(manifest, records)
    columns = compact(manifest, records, body)
    names = [
        fold(arm, NAME_WIDTH) + ([f"  {line}" for line in fold(s, NAME_WIDTH - 2)] if s else [])
        for arm, s in zip(body["arm"], body["status"], strict=True)
    ]
    parts: list[Any] = [Text(f"{manifest['study']}: {manifest['question']}", style="bold")]
    parts += _blocks(names, columns, width)
    parts += [Text(f"failed: {line}", style="red") for line in failures(manifest, records)]
    parts += [
        Text(line, style="bold yellow" if line.startswith("WARNING") else "dim")
        for line in notes.footnotes(manifest, records)
    ]
    swept = guidance(manifest, records)
    if len(swept):
        parts += ["", Text("Other guidance: primary -> this one, on the same seeds", style="bold")]
        names = [fold(arm, NAME_WIDTH) for arm in swept["arm"]]
        parts += _blocks(names, {title: list(swept[title]) for title in swept.columns[1:]}, width)
    if manifest.get("claims"):
        parts += ["", Text("Claims", style="bold"), _claims_table(manifest, records)]
    return Group(*parts)


def compact(manifest: Manifest, records: Records, body: pd.DataFrame) -> dict[str, list[str]]:
    """The table's cells by title, n in a column of its own where it is the whole row's."""
    frame = tidy(manifest, records)
    done = {arm: progress(frame, arm)["complete"] for arm in body["arm"][:-1]}
    columns = {"n": [*(str(n) for n in done.values()), NONE]}
    for title in body.columns[2:]:
        known = [f" (n={done.get(arm)})" for arm in body["arm"]]
        columns[title] = [c.removesuffix(k) for c, k in zip(body[title], known, strict=True)]
    return columns


def _blocks(names: list[list[str]], columns: dict[str, list[str]], width: int) -> list[Any]:
    """Columns in tables that fit `width`, each led by the arm: no number is ever cut or wrapped."""
    lead = max(len(line) for lines in names for line in lines)
    cells = {title: _aligned(found) for title, found in columns.items()}
    heads = {title: _header(title, max(map(len, cells[title]))) for title in columns}
    needs = {title: max(map(len, heads[title] + cells[title])) + 2 for title in columns}
    parts: list[Any] = []
    for block in _packed(needs, width - lead):
        table = _table()
        table.add_column("arm", no_wrap=True)
        for title in block:
            table.add_column("\n".join(heads[title]), justify="right", no_wrap=True)
        for i, lines in enumerate(names):
            if any(columns[title][i] != NONE for title in block):
                table.add_row("\n".join(lines), *(_coloured(cells[title][i]) for title in block))
        parts += ["", table]
    return [*parts, ""]


def _packed(needs: dict[str, int], width: int) -> list[list[str]]:
    """Titles in blocks no wider than `width`; costs (from MACs on) stay together if they can."""
    titles = list(needs)
    first_cost = next((i for i, title in enumerate(titles) if title.startswith("MACs")), None)
    blocks, used = [], width
    for i, title in enumerate(titles):
        together = sum(needs[t] for t in titles[i:]) if i == first_cost else 0
        if used + max(needs[title], together if together <= width else 0) > width:
            blocks.append([])
            used = 0
        blocks[-1].append(title)
        used += needs[title]
    return blocks


def _aligned(cells: list[str]) -> list[str]:
    """Right-aligned numbers, with the words 'better' and 'worse' in a column of their own."""
    split = [re.fullmatch(r"(.*?)( better| worse)?", cell).groups("") for cell in cells]
    numbers_, words = (max(map(len, part)) for part in zip(*split, strict=True))
    return [number.rjust(numbers_) + word.ljust(words) for number, word in split]


def _table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )


def _header(title: str, width: int) -> list[str]:
    """A column's title in short lines, no wider than its cells where words allow."""
    return textwrap.wrap(title, max(width, 11), break_long_words=False, break_on_hyphens=False)


def _coloured(cell: str) -> Text:
    style = next((s for word, s in COLOURS.items() if cell.rstrip().endswith(word)), "")
    return Text(cell, style=style)


def _claims_table(manifest: Manifest, records: Records) -> Table:
    table = _table()
    table.add_column("id", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("says", ratio=2)
    table.add_column("evidence", ratio=3)
    for row in ledger(manifest, records).to_dict("records"):
        table.add_row(
            Text(row["id"]), _coloured(row["verdict"]), Text(row["says"]), Text(row["evidence"])
        )
    return table


# ---- files -------------------------------------------------------------------------------------


def to_csv(manifest: Manifest, records: Records, path: str | Path) -> Path:
    """Tidy numbers in stored units: a row per arm x metric (all that were measured), with cost."""
    frame = tidy(manifest, records)
    known = list(manifest["metrics"])
    metrics = known + sorted(set(frame["metric"]) - set(known))
    table = numbers(manifest, records, metrics).merge(costs(manifest, records), on="arm")
    path = Path(path)
    with atomic_path(path) as part:
        table.to_csv(part, index=False)
    return path


def to_markdown(manifest: Manifest, records: Records) -> str:
    """Heading, table, notes, arms in a line each, claims: GitHub Markdown."""
    body = summary(manifest, records)
    if (body["status"] == "").all():
        body = body.drop(columns="status")
    parts = [f"# {manifest['study']}", manifest["question"]]
    if manifest.get("claims"):
        parts.append(outcome(judge(manifest, records).to_dict("records")))
    parts.append(_pipes(body))
    problems = [f"failed: {line}" for line in failures(manifest, records)]
    parts.append("\n".join(f"- {n}" for n in problems + notes.footnotes(manifest, records)))
    swept = guidance(manifest, records)
    if len(swept):
        parts += ["Other guidance: primary -> this one, on the same seeds.", _pipes(swept)]
    abouts = [f"- `{a['name']}`: {a['about']}" for a in manifest["arms"] if a.get("about")]
    if abouts:
        parts += ["## Arms", "\n".join(abouts)]
    if manifest.get("claims"):
        parts += ["## Claims", _pipes(ledger(manifest, records))]
    return "\n\n".join(parts) + "\n"


def _pipes(frame: pd.DataFrame) -> str:
    text = ["arm", "status", "says", "evidence", "id", "verdict"]
    lines = [
        list(frame.columns),
        ["---" if title in text else "---:" for title in frame.columns],
        *frame.astype(str).to_numpy().tolist(),
    ]
    rows = [" | ".join(_markdown(cell) for cell in line) for line in lines]
    return "\n".join(f"| {row} |" for row in rows)


def _markdown(cell: str) -> str:
    """One line, without bars and HTML."""
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")
