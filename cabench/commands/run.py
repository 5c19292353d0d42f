"""`cabench run`: prepare a study, execute what is missing, print its table, write its figures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from cabench.execution.run import Options, execute, prepare
from cabench.records.runs import Run
from cabench.records.schema import Manifest
from cabench.runtime.console import screen


def run_study(
    study: Path, options: Options, dry_run: bool = False, tensorboard: Path | None = None
) -> int:
    """Run a study of kind `train` and return the exit code: 1 when a trial failed."""
    prepared = prepare(study, options)
    if dry_run:
        from cabench.commands.dry_run import show_plan

        return show_plan(prepared)
    prepared = execute(prepared)
    run = Run(Manifest.model_validate(prepared.manifest), prepared.store)
    code = show(run, screen())
    if tensorboard is not None:
        from cabench.analysis.tensorboard import write_tensorboard

        write_tensorboard(run, tensorboard)
    return code


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
