"""Weights & Biases: a run per trial, grouped by STUDY.SCALE, offline by default."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cabench.analysis.loggers.base import TrialLog
from cabench.errors import DataMissing

HINT = "wandb sync {folder}/wandb/offline-run-*"
PROJECT = "cabench"


def write(trials: Sequence[TrialLog], folder: Path) -> None:
    """Write a run per trial below `folder`/wandb.

    The mode is offline unless the variable WANDB_MODE names another. A trial's run has an id of its
    own, so that a later call replaces the offline copy, and a second upload resumes the run.
    """
    try:
        import wandb
    except ImportError:
        raise DataMissing("no package 'wandb'; pip install 'cabench[wandb]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        for old in (folder / "wandb").glob(f"offline-run-*-{run_id(trial)}"):
            shutil.rmtree(old)
        run = wandb.init(
            project=PROJECT,
            group=trial.group,
            name=trial.name,
            id=run_id(trial),
            config={"arm": trial.arm, "seed": trial.seed, "key": trial.key, **trial.config},
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # pyright: ignore[reportArgumentType]
            resume="allow",
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        for images, values in trial.steps().items():
            run.log(values, step=images)
        if trial.grid is not None:
            run.log({"samples": wandb.Image(str(trial.grid))}, step=trial.images)
        run.summary.update(trial.scores)
        run.finish(exit_code=0 if trial.status == "complete" else 1)
    wandb.teardown()  # its service process


def run_id(trial: TrialLog) -> str:
    """The same for every upload of an arm's trial."""
    safe = "".join(c if c.isalnum() else "-" for c in f"{trial.group}-{trial.arm}")
    return f"{safe[:80]}-{trial.seed}-{trial.key[:12]}"
