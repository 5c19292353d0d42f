"""Runs of the tiny study as processes of their own, and what came of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cabench.records.store import Store

COMMAND = ["run", "tiny.yaml", "--scale", "scale.yaml"]
CALL = [sys.executable, "-m", "cabench.commands.app", *COMMAND]


def outcome(results: Path) -> dict[str, dict]:
    """Of every record, which must be whole: what is promised to the bit."""
    found = {}
    for path in sorted((results / "records").glob("*.json")):
        if "." not in path.stem:
            record = Store(results, results).sound(path.stem)
            found[path.stem] = {part: record[part] for part in ("spec", "metrics", "cost")}
    return found


def finish(root: Path, *more: str, code: int = 0) -> str:
    """Runs the study in `root` to its end; returns all that it printed."""
    done = subprocess.run([*CALL, *more], cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
