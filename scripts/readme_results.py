"""Writes the README's table of the reference run: `python scripts/readme_results.py`."""

from __future__ import annotations

from pathlib import Path

from cabench.analysis.formatting import NONE
from cabench.analysis.summary import FLOOR, summary
from cabench.evidence.results import Results
from cabench.records.runs import find_run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- results: python scripts/readme_results.py -->", "<!-- end of results -->"
# Title in the table of the run -> title in the README
COLUMNS = {
    "KID-lite0-8 @2000 ↓": "KID-lite0-8@2000 ↓",
    "diff. KID-lite0-8 @2000 ↓": "difference to the control",
    "accuracy, trained networks ↑": "accuracy, trained networks ↑",
    "KID-lite0 @2000 ↓": "KID-lite0@2000 ↓",
    "condition accuracy ↑": "condition accuracy ↑",
    "held-out loss ↓": "held-out loss ↓",
    "MACs (M)": "MACs (M)",
    "params (K)": "params (K)",
}
NAMES = {
    "unconditional": "unconditional (lower bound)",
    "native": "native (adaLN-Zero)",
    "native+dw": "**native+dw** (control)",
    FLOOR: f"*{FLOOR}*",
}
# The arms of claims, and two to compare with; docs/results.md has the others
ARMS = (
    "unconditional",
    "native",
    "native+dw",
    "native+can-3",
    "can-3",
    "can-3-matched",
    "can-all",
)
NOT_SHOWN = (NONE, "baseline")


def table() -> str:
    """A row per arm in ARMS, as in the run's own table."""
    results = Results.of(find_run(ROOT / "results" / "reference", "layer_placement", "quick"))
    text = summary(results)
    columns = {column.title: column for column in text.columns}
    lines = [
        f"| arm | seeds | {' | '.join(COLUMNS.values())} |",
        "|---|---:|" + "---:|" * len(COLUMNS),
    ]
    for i, row in enumerate(text.rows):
        if row.name not in (*ARMS, FLOOR):
            continue
        cells = [columns[title].cells[i] for title in COLUMNS]
        shown = [
            "" if cell.text in NOT_SHOWN else f"{cell.text} {cell.word}".strip() for cell in cells
        ]
        if row.name == FLOOR:
            shown = [cell and f"*{cell}*" for cell in shown]
        seeds = "" if row.n is None else row.n
        lines.append(f"| {NAMES.get(row.name, row.name)} | {seeds} | {' | '.join(shown)} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table of the reference run between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
