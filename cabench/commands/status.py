"""The verb `status`: manifests and records, nothing else; needs neither torch nor plugins."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from cabench.records.runs import all_runs
from cabench.runtime.console import screen


def show_status(results: Path) -> None:
    console = screen()
    runs = all_runs(results)
    if not runs:
        console.print(f"nothing in {results}: start with cabench run studies/layer_placement.yaml")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("study", "scale"):
        table.add_column(title, no_wrap=True)
    for title in ("arms", "seeds", "trials", "done", "failed", "missing"):
        table.add_column(title, justify="right")
    table.add_column("study file", no_wrap=True)
    errors = []
    for run in runs:
        told, records = run.told, run.records()
        found = [t for t in told["trials"] if t["key"] in records]
        failed = [t for t in found if records[t["key"]]["status"] == "failed"]
        trials = len(told["trials"])
        table.add_row(
            told["study"],
            told["scale"],
            *map(
                str,
                (
                    len(told["arms"]),
                    len(told["seeds"]),
                    trials,
                    len(found) - len(failed),
                    len(failed),
                    trials - len(found),
                ),
            ),
            run.study_file_state,
        )
        errors += [f"{t['arm']}, seed {t['seed']}: {records[t['key']]['error']}" for t in failed]
    console.print(table)
    for line in errors:
        console.print(f"failed: {line}", soft_wrap=True)
