"""Experiment trackers that a study's curves, scores and sample grids can be written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.loggers import mlflow, tensorboard, wandb
from cabench.analysis.loggers.base import TrialLog, trial_logs
from cabench.errors import CabenchError, listed, near, plural, shown
from cabench.records.runs import Run


@dataclass(frozen=True)
class Logger:
    """How trials are written for one tracker, and the command that opens them."""

    write: Callable[[Sequence[TrialLog], Path], None]
    hint: str  # has {folder}


LOGGERS = {
    "mlflow": Logger(mlflow.write, mlflow.HINT),
    "tensorboard": Logger(tensorboard.write, tensorboard.HINT),
    "wandb": Logger(wandb.write, wandb.HINT),
}


def logger_of(name: str) -> Logger:
    """The logger of that name; CabenchError with the near match if there is none."""
    if name not in LOGGERS:
        raise CabenchError(
            f"unknown logger {shown(name)}{near(name, LOGGERS)}; known: {listed(sorted(LOGGERS))}"
        )
    return LOGGERS[name]


def check_log(text: str) -> tuple[str, Path | None]:
    """'tensorboard=runs' -> the tracker and its directory; None where none is named.

    Raises:
        CabenchError: unknown tracker.
    """
    name, _, folder = text.partition("=")
    logger_of(name)
    return name, Path(folder) if folder else None


def write_log(run: Run, name: str, folder: Path | None = None) -> str:
    """Write all trials of a run below `folder` for one tracker; return a line that says how many.

    Default: logs/TRACKER in the run's own folder.

    Raises:
        CabenchError: unknown tracker, or its package is not installed.
    """
    logger = logger_of(name)
    manifest = run.manifest
    own = run.store.study_folder(manifest.study, manifest.scale) / "logs" / name
    folder = folder or own
    trials = list(trial_logs(run))
    logger.write(trials, folder)
    return f"{plural(len(trials), 'trial')} in {folder}: {logger.hint.format(folder=folder)}"
