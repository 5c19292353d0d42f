"""`cabench report`: write a run's report, and say where it is and what it lacks."""

from __future__ import annotations

from pathlib import Path

from cabench.analysis import tables
from cabench.analysis.processes import in_processes
from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.records.runs import Run, find_run, runs_or_reference
from cabench.report.document import progress_notices
from cabench.report.overview import write_overview
from cabench.report.report import WRITERS, checked, write_report
from cabench.web.page import write_page


def show_report(study: str, scale: str | None, results: Path, out: Path, kind: str = "pdf") -> None:
    """Write the report of a run found by name; print its table, its files, how complete it is.

    A study that has no run in the default directory is that of the committed reference.
    """
    run = find_run(results, study, scale, or_reference=True)
    shown = Results.of(run, with_curves=True)
    paths = _write(run, shown, out, kind)
    tables.show(shown)
    for notice in progress_notices(shown):
        print(f"{run.name}: {notice}")
    if run.study_file_state == "changed":
        print(f"{run.name}: the study file has changed since the run; the report shows the run")
    elif run.study_file_state == "gone":
        print(f"{run.name}: the study file no longer exists; the report shows the run")
    print("Written:", *(f"  {path}" for path in paths), sep="\n")


def show_overview(results: Path, out: Path, kind: str = "pdf") -> None:
    """Write every run's report, as PDF with the overview of their claims; print the files."""
    runs = runs_or_reference(results)
    if not runs:
        raise CabenchError(f"no runs in {results}; start one with `cabench run STUDY`")
    paths = write_overview(runs, out) if kind == "pdf" else []
    for run in runs:
        shown = Results.of(run, with_curves=True)
        if shown.records:
            paths += _write(run, shown, out, kind)
    print("Written:", *(f"  {path}" for path in paths), sep="\n")


def _write(run: Run, results: Results, out: Path, kind: str) -> list[Path]:
    """The report's files of a kind; the web page beside the PDF."""
    if kind != "pdf":
        return WRITERS[kind](run, out, results)
    with in_processes(checked(run, results)) as submit:
        page = submit(write_page, run, out)
        return [*write_report(run, out, results, submit), page.result()]
