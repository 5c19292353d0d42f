"""Runs of the tiny study in processes of their own, and their records."""

from __future__ import annotations

from pathlib import Path

import psutil
from cli import spawn

from cabench.records.store import Store

COMMAND = ("run", "tiny.yaml", "--scale", "scale.yaml")


def outcome(results: Path) -> dict[str, dict]:
    """What is promised to the bit, by key, of all records; each of them must be valid."""
    parts = {}
    for path in sorted((results / "records").glob("*.json")):
        if "." not in path.stem:
            record = Store(results, results).sound(path.stem)
            parts[path.stem] = {part: record.dump()[part] for part in ("spec", "metrics", "cost")}
    return parts


def finish(root: Path, *more: str, code: int = 0) -> str:
    """Runs the study in `root` to its end; returns everything printed."""
    done = spawn(*COMMAND, *more, cwd=root)
    assert done.code == code, done.out + done.err
    return done.out + done.err


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """Ray's workers that run trials of a driver."""
    actual = []
    try:
        children = driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for process in children:
        try:
            if process.cmdline()[:1] == ["ray::ImplicitFunc.train"]:
                actual.append(process)
        except psutil.Error:
            pass
    return actual
