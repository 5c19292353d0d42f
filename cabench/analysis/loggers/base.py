"""What a logger gets of a trial: its configuration, curves, scores and sample grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.comparison import flatten
from cabench.analysis.training_curves import loss_lines, weight_lines
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.sample_grid import is_intact
from cabench.records.schema import Record
from cabench.records.spec import Json
from cabench.records.store import SHEET

Scalar = tuple[str, int, float]  # tag, images seen, value


@dataclass(frozen=True)
class TrialLog:
    """One trial as a run of an experiment tracker."""

    # fmt: off
    study: str
    scale: str
    arm: str
    seed: int
    key: str                        # of the record
    status: str                     # "complete" or "failed"
    config: Json                    # the resolved spec, flat: "train.training.lr" -> 0.003
    scalars: tuple[Scalar, ...]     # loss/train, loss/heldout, weights/SITE/MEASURE, score/METRIC
    images: int                     # training images seen, the step of scores and samples
    grid: Path | None               # PNG of samples, a column per class or prompt
    # fmt: on

    @property
    def name(self) -> str:
        """ARM/seed-S, in paths and as the name of the tracker's run."""
        return f"{self.arm}/seed-{self.seed}"

    @property
    def group(self) -> str:
        """STUDY.SCALE."""
        return f"{self.study}.{self.scale}"

    @property
    def scores(self) -> dict[str, float]:
        """The metrics by name; empty for a failed trial."""
        return {
            tag.removeprefix("score/"): value
            for tag, _, value in self.scalars
            if tag.startswith("score/")
        }

    def steps(self) -> dict[int, dict[str, float]]:
        """The scalars by images seen, in ascending order."""
        steps: dict[int, dict[str, float]] = {}
        for tag, images, value in sorted(self.scalars, key=lambda scalar: scalar[1]):
            steps.setdefault(images, {})[tag] = value
        return steps


def trial_logs(run: Run) -> Iterator[TrialLog]:
    """The log of each trial of a run that has a record; one without curves and scores has none."""
    results = Results.of(run, with_curves=True)
    for trial in results.manifest.trials:
        record = results.records.get(trial.key)
        if record is None:
            continue
        curves = results.curves.get(trial.key, {})
        lines = {"loss": loss_lines(curves), "weights": weight_lines(curves)}
        scalars = [
            ("/".join((group, *names)), images, value)
            for group, of_group in lines.items()
            for names, at, values in of_group
            for images, value in zip(at, values, strict=True)
            if value is not None  # a spread relative to a static weight of zero
        ]
        scalars += _scores(record)
        if not scalars:
            continue
        grid = run.store.beside(trial.key, SHEET)
        yield TrialLog(
            study=results.manifest.study,
            scale=results.manifest.scale,
            arm=trial.arm,
            seed=trial.seed,
            key=trial.key,
            status=record.status,
            config=flatten(record.spec.dump()),
            scalars=tuple(scalars),
            images=record.spec.images,
            grid=grid if record.complete and is_intact(grid) else None,
        )


def _scores(record: Record) -> list[Scalar]:
    """The trial's metrics, at the step where training ended."""
    if not record.complete:
        return []
    return [(f"score/{name}", record.spec.images, value) for name, value in record.metrics.items()]
