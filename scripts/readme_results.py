"""Writes the README's tables of the main reference run, and a page per reference run.

    python scripts/readme_results.py

The pages are docs/results/STUDY.md, or STUDY.SCALE.md where a study was run at several scales; the
run's own table.md is written, too.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cabench.analysis import tables
from cabench.analysis.formatting import NONE, effect_decimals, effect_text
from cabench.analysis.summary import FLOOR, summary
from cabench.analysis.verdict_text import measured, outcome_of
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Verdict
from cabench.records.runs import Run, all_runs, find_run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
REFERENCE = ROOT / "results" / "reference"
PAGES = ROOT / "docs" / "results"
NOTE = "<!-- Generated from results/reference: python scripts/readme_results.py -->"
FIGURES = {  # file -> caption
    "forest.png": "Differences to the baseline in the primary metric, with 95 % intervals.",
    "lengths.png": "The primary metric and its difference to the baseline's by length of training.",
    "samples.png": "Samples: a row per arm; every arm starts from the same noise.",
    "guidance.png": "Scores by guidance, on the same networks; right: differences to the baseline.",
    "curves.png": "Training: loss on images of the report split by images seen.",
    "weights.png": "What the condition changes in the generated weights, per kind of layer.",
}
BEGIN, END = "<!-- {}: python scripts/readme_results.py -->", "<!-- end of {} -->"
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


def arms(results: Results) -> str:
    """A row per arm in ARMS, as in the run's own table."""
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


def claims(results: Results) -> str:
    """The outcome in a sentence, and a row per claim with its differences."""
    lines = [
        outcome_of(results),
        "",
        "| claim | verdict | differences | seeds |",
        "|---|---|---|---:|",
    ]
    for verdict in results.verdicts:
        cells = (
            f"{verdict.claim.id} {verdict.claim.says}",
            f"**{verdict.word}**" if verdict.word != "unresolved" else _word(verdict),
            "; ".join(
                f"{metric.title} {effect_text(effect, effect_decimals(effect))}"
                for _, metric, effect in measured(verdict, results.metrics)
            ),
            str(verdict.n),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _word(verdict: Verdict) -> str:
    return f"{verdict.word}, stopped for futility" if verdict.is_futile else verdict.word


PARTS = {"results": arms, "claims": claims}


def with_tables(page: str) -> str:
    """The page with the tables of the reference run between their marks."""
    results = Results.of(find_run(REFERENCE, "layer_placement", "quick"))
    for name, part in PARTS.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{part(results)}\n{end}{rest.split(end)[1]}"
    return page


def pages() -> dict[Path, str]:
    """The text of each reference run's page."""
    runs = all_runs(REFERENCE)
    scales = Counter(run.manifest.study for run in runs)
    names = [run.name if scales[run.manifest.study] > 1 else run.manifest.study for run in runs]
    return {PAGES / f"{name}.md": page(run) for name, run in zip(names, runs, strict=True)}


def page(run: Run) -> str:
    """The run's own table and claims, below links to its files and its figures."""
    study, scale = run.manifest.study, run.manifest.scale
    folder = f"../../results/reference/{run.folder.name}"
    title, table = tables.to_markdown(Results.of(run)).split("\n", 1)
    figures = [
        f"![{caption}]({folder}/{name})\n\n*{caption}*"
        for name, caption in FIGURES.items()
        if (run.folder / name).exists()
    ]
    links = (
        f"How the run was planned and what it shows: [results](../results.md). "
        f"[The study](../../{run.manifest.study_file}); [its numbers as CSV]({folder}/table.csv); "
        f"as a PDF: `cabench report {study} --scale {scale} --results results/reference`."
    )
    title = f"{title} at scale {scale}"
    return "\n\n".join([title, NOTE, links, table.strip(), "## Figures", *figures])


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PAGES.mkdir(exist_ok=True)
    for run in all_runs(REFERENCE):
        (run.folder / "table.md").write_text(tables.to_markdown(Results.of(run)), encoding="utf-8")
    for path, text in pages().items():
        path.write_text(text + "\n", encoding="utf-8")
