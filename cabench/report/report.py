"""The files of a report: PDF, CSV and Markdown of one run, from its manifest and records."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from cabench.analysis import figures, tables
from cabench.analysis.latex import to_latex
from cabench.analysis.processes import Submit, in_processes
from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.spec import Json
from cabench.records.store import Store
from cabench.report import images
from cabench.report.document import content
from cabench.report.typeset import compile_template
from cabench.runtime.files import atomic_path


def write_report(
    run: Run, out: Path, results: Results | None = None, submit: Submit | None = None
) -> list[Path]:
    """Write STUDY.SCALE.pdf, .csv (arm x seed x metric), .arms.csv (arm x metric) and .md.

    And quality against cost: .cost.csv, and the figure .cost as PNG, SVG and PDF. `results` are the
    run's, with curves; without them they are read. `submit` is that of their processes.
    """
    results = checked(run, results or Results.of(run, with_curves=True))
    ends = (".pdf", ".csv", ".arms.csv", ".md")
    pdf, seeds, arms, text = (out / f"{run.name}{end}" for end in ends)
    with nullcontext(submit) if submit else in_processes(results) as submit:
        figure = submit(figures.cost, out / f"{run.name}.cost")
        with atomic_path(seeds) as part:
            tables.plain_cells(results.frame).to_csv(part, index=False)
        tables.to_csv(results, arms)
        with atomic_path(text) as part:
            part.write_text(tables.to_markdown(results), encoding="utf-8")
        cost = tables.cost_to_csv(results, out / f"{run.name}.cost.csv")
        with atomic_path(pdf) as part:
            part.write_bytes(_compiled(results, run.store, submit))
        return [pdf, seeds, arms, text, cost, *figure.result()]


def write_latex(run: Run, out: Path, results: Results | None = None) -> list[Path]:
    """Write STUDY.SCALE.tex: the tables."""
    path = out / f"{run.name}.tex"
    with atomic_path(path) as part:
        part.write_text(to_latex(checked(run, results or Results.of(run))), encoding="utf-8")
    return [path]


WRITERS = {"pdf": write_report, "tex": write_latex}  # by --format


def checked(run: Run, results: Results) -> Results:
    """The results; CabenchError where there is no record to report."""
    if not results.records:
        raise CabenchError(
            f"{run.name} has no records in {run.store.results} yet; "
            f"start with `cabench run {results.manifest.study_file}`"
        )
    return results


def compile_pdf(results: Results, store: Store) -> bytes:
    """The PDF: on one day and commit, equal bytes for equal manifest, records, curves and grids."""
    with in_processes(results) as submit:
        return _compiled(results, store, submit)


def _compiled(results: Results, store: Store, submit: Submit) -> bytes:
    def draw(folder: Path) -> Json:
        started = images.start(folder, submit)
        return content(results) | images.draw(results, store, folder, started)

    return compile_template("report.typ", draw)
