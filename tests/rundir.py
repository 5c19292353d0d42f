"""Runs on disk for tests of the commands that read manifests and records: the reference, edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specs import ROOT

from cabench.records.store import CURVES, Store
from cabench.runtime.files import write_json

REFERENCE = ROOT / "results" / "reference"


MANIFEST = REFERENCE / "layer_placement.quick" / "manifest.json"
TRIALS = len(json.loads(MANIFEST.read_text())["trials"])  # of the committed run
ARMS = (
    "unconditional",
    "native",
    "native+dw",
    "native+can-dw",
    "native+can-dw-pe",
    "native+can-3",
    "can-dw",
    "can-dw-pe",
    "can-3",
    "can-3-matched",
)


def reference() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Ten arms and three seeds of the committed run as a fixed design, free to be edited.

    Returns the manifest, and the records by arm and seed.
    """
    manifest = json.loads(MANIFEST.read_text())
    manifest["design"], manifest["seeds"] = {}, [0, 1, 2]
    manifest["arms"] = [arm for arm in manifest["arms"] if arm["name"] in ARMS]
    manifest["trials"] = [t for t in manifest["trials"] if t["arm"] in ARMS and t["seed"] < 3]
    records = {
        (t["arm"], t["seed"]): json.loads((REFERENCE / "records" / f"{t['key']}.json").read_text())
        for t in manifest["trials"]
    }
    return manifest, records


def write_run(folder: Path, manifest: dict, records: dict, curves: dict | None = None) -> Path:
    """As a run would lie in `folder`; `curves` by key."""
    store = Store(folder, folder)
    for key, curve in (curves or {}).items():
        write_json(store.beside(key, CURVES), curve)
    for record in records.values():
        store.write_record(record)
    write_json(store.study_folder(manifest["study"], manifest["scale"]) / "manifest.json", manifest)
    return folder


def fail(record: dict[str, Any], error: str = "Diverged: the loss became nan") -> None:
    """Make a record that of a failed trial."""
    for part in ("metrics", "protocol", "cost", "timing", "diagnostics"):
        record[part] = {}
    record |= {"status": "failed", "error": error}
