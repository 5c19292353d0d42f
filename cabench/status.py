"""The verb `status`: manifests and records, nothing else; needs neither torch nor plugins."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cabench.store import REFERENCE, Store, read_json


def show_status(results: Path) -> None:
    console = Console()
    manifests = sorted(results.glob("*/manifest.json"))
    if not manifests:
        console.print(f"nothing in {results}: start with cabench run studies/layer_placement.yaml")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("study", "scale"):
        table.add_column(title, no_wrap=True)
    for title in ("arms", "seeds", "trials", "done", "failed", "missing"):
        table.add_column(title, justify="right")
    table.add_column("study file", no_wrap=True)
    errors = []
    for path in manifests:
        told = read_json(path)
        reference = REFERENCE if told.get("use_reference") else None
        store = Store(results, Path(".cabench"), reference)
        records = store.records([t["key"] for t in told["trials"]])
        found = [t for t in told["trials"] if t["key"] in records]
        failed = [t for t in found if records[t["key"]]["status"] == "failed"]
        trials = len(told["trials"])
        table.add_row(
            told["study"], told["scale"], *map(str, (
                len(told["arms"]), len(told["seeds"]), trials, len(found) - len(failed),
                len(failed), trials - len(found))),
            study_file_state(told),
        )  # fmt: skip
        errors += [f"{t['arm']}, seed {t['seed']}: {records[t['key']]['error']}" for t in failed]
    console.print(table)
    for line in errors:
        console.print(f"failed: {line}", markup=False, highlight=False, soft_wrap=True)


def study_file_state(told: dict) -> str:
    path = Path(told["study_file"])
    if not path.is_file():
        return "gone"
    same = hashlib.sha256(path.read_bytes()).hexdigest() == told["study_sha256"]
    return "same" if same else "changed"
