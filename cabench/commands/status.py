"""The command `status`: what is complete, failed and missing, from manifests and records alone."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from cabench.records.runs import Run, all_runs
from cabench.records.schema import ManifestTrial, Record
from cabench.runtime.console import screen


def show_status(results: Path) -> None:
    """Print a row per run, then the error of each failed trial."""
    console = screen()
    runs = all_runs(results)
    if not runs:
        console.print(
            f"no runs in {results}; start one with `cabench run layer_placement`, or read the "
            "committed reference with `cabench report layer_placement`",
            soft_wrap=True,
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("study", "scale"):
        table.add_column(title, no_wrap=True)
    for title in ("arms", "seeds", "trials", "done", "failed", "missing"):
        table.add_column(title, justify="right")
    table.add_column("study file", no_wrap=True)
    errors = []
    for run in runs:
        records = run.records()
        table.add_row(*_row(run, records))
        errors += [
            f"{trial.arm}, seed {trial.seed}: {records[trial.key].error}"
            for trial in run.manifest.all_trials
            if _has_failed(records, trial)
        ]
    console.print(table)
    for line in errors:
        console.print(f"failed: {line}", soft_wrap=True)


def _has_failed(records: dict[str, Record], trial: ManifestTrial) -> bool:
    return trial.key in records and not records[trial.key].complete


def _row(run: Run, records: dict[str, Record]) -> list[str]:
    manifest = run.manifest
    trials = len(manifest.all_trials)
    recorded = sum(trial.key in records for trial in manifest.all_trials)
    failed = sum(_has_failed(records, trial) for trial in manifest.all_trials)
    counts = [len(manifest.arms), len(manifest.seeds), trials]
    counts += [recorded - failed, failed, trials - recorded]
    return [manifest.study, manifest.scale, *map(str, counts), run.study_file_state]
