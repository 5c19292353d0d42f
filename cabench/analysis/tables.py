"""The study's table for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cabench.analysis.evidence_cost import (
    TITLE,
    evidence_cost_frame,
    evidence_cost_note,
    evidence_cost_table,
)
from cabench.analysis.footnotes import footnotes
from cabench.analysis.formatting import NONE, fold
from cabench.analysis.paper_scores import TITLE as PAPER_TITLE
from cabench.analysis.paper_scores import paper_scores_note, paper_scores_table
from cabench.analysis.pareto import pareto_front
from cabench.analysis.summary import Cell, Column, Row, TextTable, guidance, lengths, summary
from cabench.analysis.verdict_text import claim_rows, outcome_of, verdicts_by_length
from cabench.evidence.results import Results
from cabench.runtime.console import plain_text, print_to_fit
from cabench.runtime.files import atomic_path
from cabench.runtime.printable import plain_cell

NAME_WIDTH = 26  # letters in a line of an arm's name
TITLE_WIDTH = 11  # letters in a line of a column's title, at least
VERDICT_WIDTH = 18  # letters in a line of a verdict
GUIDANCE = "Other guidance: scores at the primary guidance -> at this one, on the same seeds"
OTHER = "on other features"
AS_STATED = "as the paper states it, at its scale"
NOT_TESTED = "not tested"
COST_COLUMNS = [
    *("arm", "role", "metric", "n", "mean", "low", "high"),
    *("macs", "conditioning_macs", "params", "images_per_s"),
]
STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "supported": "bold green",
    "supported, small": "green",
    "contradicted": "bold red",
    "contradicted, small": "red",
    "equivalent": "cyan",
    "unresolved": "yellow",
    "not tested": "dim",
    "by construction": "green",
}


# ---- the terminal ------------------------------------------------------------------------------


def show(results: Results, console: Console | None = None, width: int | None = None) -> None:
    """Print the study's table; into a file or a pipe as plain text of 120 columns (or $COLUMNS)."""
    print_to_fit(lambda columns: render(results, columns), console, width)


def show_table(table: TextTable, console: Console | None = None) -> None:
    """Print a table, in as many blocks of columns as fit the width."""
    print_to_fit(lambda columns: _blocks(table, columns), console)


def plain(results: Results, width: int = 120, encoding: str = "utf-8") -> str:
    """The table as `show` prints it into a file."""
    return plain_text(render(results, width), width, encoding)


def render(results: Results, width: int) -> list[RenderableType]:
    """What a terminal of `width` columns shows: table, notes, other guidance, claims."""
    manifest = results.manifest
    parts: list[RenderableType] = [_heading(f"{manifest.study}: {manifest.question}")]
    parts += _blocks(summary(results).with_n_column(), width)
    parts += [Text(f"failed: {line}", style="red") for line in results.failures()]
    parts += [
        Text(note, style="bold yellow" if note.startswith("WARNING") else "dim")
        for note in footnotes(results)
    ]
    if swept := guidance(results):
        parts += ["", _heading(GUIDANCE), *_blocks(swept, width)]
    if manifest.claims:
        parts += ["", _heading("Claims"), _claims_table(results)]
    for title, table in by_length(results):
        parts += ["", _heading(title), *_blocks(table, width)]
    return parts


def by_length(results: Results) -> list[tuple[str, TextTable]]:
    """Titles and tables of what depends on the length of training; [] of one length."""
    title = f"{results.primary.title} by length of training"
    tables = [
        (f"{title}, each length with its own correction (Holm)", lengths(results)),
        (
            "Verdicts by length of training; the study's are those of the longest",
            verdicts_by_length(results),
        ),
    ]
    return [(title, table) for title, table in tables if table is not None]


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _blocks(table: TextTable, width: int) -> list[RenderableType]:
    """The table in blocks of columns that fit `width`, each led by the arms; no cell is cut."""
    names = [_name_lines(row) for row in table.rows]
    lead = max(len(line) for lines in names for line in lines)
    columns = [_Printed(column) for column in table.columns]
    parts: list[RenderableType] = []
    for block in _packed(columns, width - lead):
        printed = _rich_table()
        printed.add_column(table.lead, no_wrap=True)
        for column in block:
            printed.add_column("\n".join(column.title), justify="right", no_wrap=True)
        for i, lines in enumerate(names):
            if any(column.is_filled(i) for column in block):
                printed.add_row("\n".join(lines), *(column.cell(i) for column in block))
        parts += ["", printed]
    return [*parts, ""]


def _name_lines(row: Row) -> list[str]:
    status = [f"  {line}" for line in fold(row.status, NAME_WIDTH - 2)] if row.status else []
    return fold(row.name, NAME_WIDTH) + status


def in_blocks(table: TextTable, width: int) -> list[list[Column]]:
    """The columns in blocks that fit `width` letters beside the rows' names."""
    lead = max(len(line) for row in table.rows for line in _name_lines(row))
    columns = {id(printed := _Printed(column)): (printed, column) for column in table.columns}
    packed = _packed([printed for printed, _ in columns.values()], width - lead)
    return [[columns[id(printed)][1] for printed in block] for block in packed]


class _Printed:
    """A column as printed: numbers right-aligned, then 'better' and 'worse' below each other."""

    def __init__(self, column: Column):
        self.together = column.together
        self.cells = column.cells
        numbers = [number_text(cell) for cell in column.cells]
        number_width = max(map(len, numbers))
        word_width = max(len(cell.word) for cell in column.cells)
        self.texts = [
            number.rjust(number_width) + (f" {cell.word:<{word_width}}" if word_width else "")
            for number, cell in zip(numbers, column.cells, strict=True)
        ]
        self.title = _title_lines(column.title, len(self.texts[0]))
        self.width = max(map(len, [*self.title, *self.texts])) + 2

    def is_filled(self, row: int) -> bool:
        return self.cells[row].text != NONE

    def cell(self, row: int) -> Text:
        return Text(self.texts[row], style=STYLES.get(self.cells[row].word, ""))


def _packed(columns: Sequence[_Printed], width: int) -> list[list[_Printed]]:
    """Columns in blocks no wider than `width`; those that belong together stay so if they fit."""
    blocks: list[list[_Printed]] = []
    used = width
    for i, column in enumerate(columns):
        group = sum(other.width for other in columns[i : i + column.together])
        if used + (group if group <= width else column.width) > width:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += column.width
    return blocks


def _rich_table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )


def _title_lines(title: str, width: int) -> list[str]:
    """A column's title in lines that are no wider than its cells where words allow."""
    width = max(width, TITLE_WIDTH)
    return textwrap.wrap(title, width, break_long_words=False, break_on_hyphens=False)


def _claims_table(results: Results) -> Table:
    table = _rich_table()
    table.add_column("id", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", ratio=2)
    table.add_column("evidence", ratio=3)
    rows = claim_rows(results)
    for row in rows:
        words = "\n".join(textwrap.wrap(row.verdict, VERDICT_WIDTH))
        verdict = Text(words, style=STYLES.get(row.word, ""))
        table.add_row(Text(row.id), verdict, Text(row.says), Text(row.evidence))
        if row.other:
            word = Text(row.other, style=STYLES.get(row.other, ""))
            table.add_row("", word, Text(f"   {OTHER}"), Text(row.other_evidence))
        if row.paper:
            word = Text(NOT_TESTED, style=STYLES[NOT_TESTED])
            table.add_row("", word, Text(f"   {AS_STATED}"), Text(row.paper))
    return table


# ---- files -------------------------------------------------------------------------------------


def to_csv(results: Results, path: str | Path) -> Path:
    """Write `csv_rows`."""
    return _write_csv(csv_rows(results), Path(path))


def csv_rows(results: Results) -> pd.DataFrame:
    """One row per arm x metric, all metrics that were measured, in stored units.

    Columns: arm, role (arm, baseline or bound), metric, n, mean, low, high (95 % t interval; mean
    plus and minus the standard deviation in a sequential design), pairs,
    diff, diff_low, diff_high, p, p_holm (all to the baseline), macs, conditioning_macs, params,
    images_per_s.
    """
    known = list(results.metrics)
    further = sorted(set(results.frame["metric"]) - set(known))
    rows = [
        {
            "arm": row.arm,
            "role": row.role,
            "metric": row.metric,
            "n": row.level.n,
            "mean": row.level.mean,
            "low": row.level.low,
            "high": row.level.high,
            "pairs": row.difference.n,
            "diff": row.difference.mean,
            "diff_low": row.difference.low,
            "diff_high": row.difference.high,
            "p": row.p,
            "p_holm": row.p_holm,
            **vars(results.costs[row.arm]),
        }
        for row in results.compare_arms([*known, *further])
    ]
    return pd.DataFrame(rows)


def cost_rows(results: Results) -> pd.DataFrame:
    """Quality against cost: a row per arm with a score and counts, lower bounds left out.

    Columns: arm, role, metric, n, mean, low, high (as in `csv_rows`), macs, conditioning_macs,
    params, images_per_s, macs_ratio and params_ratio (to the baseline), and on_front: whether the
    arm is on the Pareto front of mean and MACs. Means alone decide that; it is no test.
    """
    metric = results.primary
    rows = csv_rows(results)
    chosen = (rows["metric"] == metric.name) & (rows["role"] != "bound") & (rows["n"] > 0)
    rows = rows.loc[chosen & rows["macs"].notna() & rows["params"].notna(), COST_COLUMNS]
    base = results.costs[results.manifest.baseline]
    rows = rows.assign(
        macs_ratio=rows["macs"] / base.macs, params_ratio=rows["params"] / base.params
    )
    by_arm = rows.set_index("arm")
    costs, means = by_arm["macs"].to_dict(), by_arm["mean"].to_dict()
    front = pareto_front(costs, means, metric.higher_is_better)
    return rows.assign(on_front=rows["arm"].isin(front))


def cost_to_csv(results: Results, path: Path) -> Path:
    """Write `cost_rows`."""
    return _write_csv(cost_rows(results), path)


def lengths_to_csv(results: Results, path: Path) -> list[Path]:
    """Write the rows of `to_csv` after each length of training; [] of one length."""
    parts = [csv_rows(after).assign(images=images) for images, after in results.by_length.items()]
    return [_write_csv(pd.concat(parts), path)] if parts else []


def evidence_to_csv(results: Results, path: Path) -> list[Path]:
    """Write what 80 % power costs for each claim; [] where no claim is tested."""
    frame = evidence_cost_frame(results)
    return [] if frame.empty else [_write_csv(frame, path)]


def _write_csv(frame: pd.DataFrame, path: Path) -> Path:
    with atomic_path(path) as part:
        plain_cells(frame).to_csv(part, index=False)
    return path


def plain_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `plain_cell` instead of each text."""
    texts = frame.select_dtypes(exclude="number").columns
    frame = frame.assign(**{name: frame[name].map(plain_cell) for name in texts})
    return frame.rename(columns=plain_cell)


def to_markdown(results: Results) -> str:
    """The study as GitHub Markdown: question, outcome, table, notes, arms, claims."""
    manifest = results.manifest
    parts = [f"# {manifest.study}", markdown(manifest.question)]
    if manifest.claims:
        parts.append(markdown(outcome_of(results)))
    parts.append(_pipe_table(summary(results)))
    notes = [f"failed: {line}" for line in results.failures()] + footnotes(results)
    parts.append(_bullets(notes))
    if swept := guidance(results):
        parts += [f"{GUIDANCE}.", _pipe_table(swept)]
    if abouts := [f"`{arm.name}`: {arm.about}" for arm in manifest.arms if arm.about]:
        parts += ["## Arms", _bullets(abouts)]
    for title, table in by_length(results):
        parts += [f"## {title}", _pipe_table(table)]
    if manifest.claims:
        claims: list[list[str]] = []
        for row in claim_rows(results):
            claims.append([row.id, row.verdict, row.says, row.evidence])
            if row.other:
                claims.append(["", row.other, OTHER, row.other_evidence])
            if row.paper:
                claims.append(["", NOT_TESTED, AS_STATED, row.paper])
        parts += ["## Claims", pipes(["id", "verdict", "claim", "evidence"], claims, text=4)]
    if note := paper_scores_note(results):
        parts += [f"## {PAPER_TITLE}", markdown(note)]
    if (scored := paper_scores_table(results)) is not None:
        parts.append(_pipe_table(scored))
    if (costs := evidence_cost_table(results)) is not None:
        parts += [f"## {TITLE}", markdown(evidence_cost_note(results)), _pipe_table(costs)]
    return "\n\n".join(parts) + "\n"


def markdown_table(title: str, table: TextTable) -> str:
    """A table below its title, as GitHub Markdown."""
    return f"## {title}\n\n{_pipe_table(table)}\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)


def _pipe_table(table: TextTable) -> str:
    leads = [[row.name, row.status] for row in table.rows]
    titles = [table.lead, "status"]
    if not any(row.status for row in table.rows):
        leads, titles = [lead[:1] for lead in leads], titles[:1]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = [
        [*lead, *(f"{number_text(cell)} {cell.word}".rstrip() for cell in line)]
        for lead, line in zip(leads, cells, strict=True)
    ]
    return pipes([*titles, *(column.title for column in table.columns)], rows, len(titles))


def number_text(cell: Cell) -> str:
    """'2.45 ± 0.07 (n=3)', where the cell states n."""
    return cell.text if cell.n is None else f"{cell.text} (n={cell.n})"


def pipes(titles: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> str:
    """A table whose first `text` columns are text, the others numbers."""
    rules = ["---" if i < text else "---:" for i in range(len(titles))]
    lines = [titles, rules, *rows]
    return "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in lines)


def markdown(text: str) -> str:
    """The text in one line, without table bars, HTML tags, links and images."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return line.replace("](", "]\\(")
