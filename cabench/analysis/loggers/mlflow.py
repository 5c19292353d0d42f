"""MLflow: an experiment per STUDY.SCALE and a run per trial, in an SQLite file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cabench.analysis.loggers.base import TrialLog
from cabench.errors import DataMissing

HINT = "mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db"
KEY = "cabench.key"  # tag of a run: the record's key
LONGEST = 6000  # characters of a parameter, MLflow's limit
PARAMS, METRICS = 100, 1000  # in a call, MLflow's limits


def write(trials: Sequence[TrialLog], folder: Path) -> None:
    """Write a run per trial to `folder`/mlflow.db; a trial that is there already is replaced."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        raise DataMissing("no package 'mlflow'; pip install 'cabench[mlflow]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db")
    for trial in trials:
        known = client.get_experiment_by_name(trial.group)
        experiment = (
            known.experiment_id
            if known is not None
            else client.create_experiment(
                trial.group, artifact_location=(folder.resolve() / "artifacts").as_uri()
            )
        )
        for old in client.search_runs(
            [experiment], f"tags.`{KEY}` = '{trial.key}' and tags.arm = '{trial.arm}'"
        ):
            client.delete_run(old.info.run_id)
        tags = {KEY: trial.key, "arm": trial.arm, "seed": str(trial.seed)}
        run = client.create_run(experiment, run_name=trial.name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric(tag, value, now, images) for tag, images, value in trial.scalars]
        params = [Param(name, str(value)[:LONGEST]) for name, value in trial.config.items()]
        for part in batched(params, PARAMS):
            client.log_batch(run, params=part)
        for part in batched(metrics, METRICS):
            client.log_batch(run, metrics=part)
        if trial.grid is not None:
            client.log_artifact(run, str(trial.grid), "samples")
        client.set_terminated(run, "FINISHED" if trial.status == "complete" else "FAILED")


def batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Parts of at most `size` items, in order."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
