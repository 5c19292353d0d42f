"""`cabench run`: prepare a study, execute what is missing, print its table, write its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cabench.analysis.loggers import check_log, write_log
from cabench.config.seeds import is_count, understood
from cabench.execution.looks import run_until_resolved
from cabench.execution.run import Options, Prepared, execute, prepare
from cabench.records.runs import Run, find_run
from cabench.records.store import REFERENCE
from cabench.runtime.console import screen


def run_study(
    study: Path,
    options: Options,
    dry_run: bool = False,
    logs: Sequence[str] = (),
    budget: float | None = None,
) -> int:
    """Run a study of kind `train` and return the exit code: 1 when a trial failed.

    `budget` in seconds is for a run until its claims are resolved. `logs` are experiment trackers,
    each with or without a directory: 'wandb', 'tensorboard=DIR'.
    """
    trackers = [check_log(text) for text in logs]
    show_seeds(options, dry_run)
    prepared = prepare(study, options)
    if dry_run:
        from cabench.commands.dry_run import show_plan

        return show_plan(prepared)
    if prepared.remaining.trials and not options.use_reference:
        show_reference(prepared, screen())
    if options.until_resolved:
        prepared = run_until_resolved(study, prepared, budget)
    else:
        prepared = execute(prepared)
    run = prepared.run
    code = show(run, screen())
    for name, folder in trackers:
        screen().print(write_log(run, name, folder), soft_wrap=True)
    return code


def show_seeds(options: Options, always: bool = False) -> None:
    """Print how --seeds is understood, `always` or where it is a number: 1000 may mean a seed."""
    if options.seeds is not None and (always or is_count(options.seeds)):
        screen().print(understood(options.seeds), soft_wrap=True)


def show_reference(prepared: Prepared, console: Console) -> None:
    """Print the table of the committed run of this study, if there is one: a run takes a while."""
    from cabench.analysis import tables
    from cabench.evidence.results import Results

    study, scale = prepared.plan.study.study, prepared.plan.scale.scale
    if not (REFERENCE / f"{study}.{scale}" / "manifest.json").exists():
        return
    run = find_run(REFERENCE, study, scale)
    if run.manifest.backbone != prepared.plan.file.backbone:
        return
    console.rule(f"the committed run, {REFERENCE}")
    tables.show(Results.of(run, with_curves=True), console)
    console.rule("this run")


def show(run: Run, console: Console) -> int:
    """Print the table, write tables and figures; return 1 when a trial failed."""
    from cabench.analysis import tables
    from cabench.analysis.outputs import write_outputs
    from cabench.evidence.results import Results

    results = Results.of(run, with_curves=True)
    tables.show(results, console)
    paths = write_outputs(results, run.store)
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    failed = [record for record in results.records.values() if not record.complete]
    if failed:
        console.print(f"\n{len(failed)} trials failed; --retry-failed runs them again")
    return 1 if failed else 0
