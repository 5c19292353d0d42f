"""Curves and scores as TensorBoard event files: ARM/seed-S, one step per image seen."""

from __future__ import annotations

from pathlib import Path

from cabench.analysis.training_curves import loss_points, weight_points
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.schema import Record

SUFFIX = ".cabench"  # of our event files, so that those of other tools are left alone


def write_tensorboard(run: Run, folder: Path) -> int:
    """Write event files for each trial below `folder`; return for how many trials.

    Tags: loss/train, loss/heldout, weights/SITE/MEASURE, score/METRIC. The previous event files of
    a trial are replaced. A trial without curves and scores has none.
    """
    results = Results.of(run, with_curves=True)
    written = 0
    for trial in results.manifest.trials:
        curves = results.curves.get(trial.key, {})
        scalars = [(f"loss/{kind}", images, loss) for kind, images, loss in loss_points(curves)]
        scalars += [
            (f"weights/{site}/{measure}", images, value)
            for site, measure, images, value in weight_points(curves)
        ]
        scalars += _scores(results.records.get(trial.key))
        if scalars:
            _write(folder / trial.arm / f"seed-{trial.seed}", scalars)
            written += 1
    return written


def _scores(record: Record | None) -> list[tuple[str, int, float]]:
    """The trial's metrics, at the step where training ended."""
    if record is None or not record.complete:
        return []
    images = record.spec.images
    return [(f"score/{name}", images, value) for name, value in record.metrics.items()]


def _write(folder: Path, scalars: list[tuple[str, int, float]]) -> None:
    from tensorboardX import SummaryWriter

    for old in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        old.unlink()
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for tag, step, value in scalars:
            writer.add_scalar(tag, value, step)
