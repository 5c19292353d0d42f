"""Curves and scores as TensorBoard event files: ARM/seed-S, a step is a picture seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cabench.analysis.generated import weight_points
from cabench.analysis.loading import curve_points
from cabench.records.runs import Run

SUFFIX = ".cabench"  # of our event files: what other tools wrote beside them stays


def write_tensorboard(run: Run, folder: Path) -> int:
    """Writes loss/train, loss/heldout, weights/SITE/MEASURE and score/METRIC of each trial.

    Returns of how many trials.

    A trial's earlier files are replaced. A trial with neither curves nor scores writes none.
    """
    records = run.records()
    curves = run.store.curves(records)
    written = 0
    for trial in run.told["trials"]:
        record = records.get(trial["key"], {})
        told = curves.get(trial["key"], {})
        scalars = [(f"loss/{kind}", x, y) for kind, x, y in curve_points(told)]
        scalars += [(f"weights/{site}/{name}", x, y) for site, name, x, y in weight_points(told)]
        scalars += _scores(record)
        if scalars:
            _write(folder / trial["arm"] / f"seed-{trial['seed']}", scalars)
            written += 1
    return written


def _scores(record: dict[str, Any]) -> list[tuple[str, int, float]]:
    """The final numbers, at the step where training ended."""
    if record.get("status") != "complete":
        return []
    seen = record["spec"]["images"]
    return [(f"score/{name}", seen, value) for name, value in record["metrics"].items()]


def _write(folder: Path, scalars: list[tuple[str, int, float]]) -> None:
    from tensorboardX import SummaryWriter

    for old in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        old.unlink()
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for tag, step, value in scalars:
            writer.add_scalar(tag, value, step)
