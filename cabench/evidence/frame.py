"""A run's numbers in tidy form: one row per arm x seed x metric, and one cost per arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cabench.records.schema import Manifest, Record

COLUMNS = ["arm", "seed", "key", "metric", "value", "status", "error"]
NAN = float("nan")
NO_VALUES = pd.Series(np.empty(0), index=np.empty(0, dtype=int))  # of an arm without trials


def tidy(manifest: Manifest, records: Mapping[str, Record]) -> pd.DataFrame:
    """A row per arm x seed x metric, in the manifest's order; values are stored units.

    `status` is complete, failed or missing. A trial without a metric has a row with NaN for each
    of the study's metrics. Arms whose trials have the same key share one record.
    """
    rows = []
    for trial in manifest.trials:
        record = records.get(trial.key)
        values = record.metrics if record and record.complete else {}
        names = dict.fromkeys([*manifest.metrics, *values])
        status = record.status if record else "missing"
        error = record.error if record else None
        rows += [
            (trial.arm, trial.seed, trial.key, name, values.get(name), status, error)
            for name in names
        ]
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    frame["value"] = frame["value"].astype(float)
    return frame.drop_duplicates(["arm", "seed", "metric"]).reset_index(drop=True)


def by_seed(frame: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """An arm's finite values of a metric, indexed by seed."""
    chosen = (frame["arm"] == arm).to_numpy() & (frame["metric"] == metric).to_numpy()
    return _values(frame.loc[chosen])


def all_by_seed(frame: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """`by_seed` of every arm and metric, in one pass."""
    groups = frame.groupby(["arm", "metric"], sort=False)
    return {(arm, metric): _values(rows) for (arm, metric), rows in groups}  # pyright: ignore


def _values(rows: pd.DataFrame) -> pd.Series:
    values = rows["value"].to_numpy(dtype=float)
    finite = np.isfinite(values)
    return pd.Series(values[finite], index=rows["seed"].to_numpy()[finite])


# ---- trials ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """How many trials are complete, failed, or have not run."""

    complete: int = 0
    failed: int = 0
    missing: int = 0

    @property
    def total(self) -> int:
        return self.complete + self.failed + self.missing

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.complete + other.complete,
            self.failed + other.failed,
            self.missing + other.missing,
        )


def statuses_of(frame: pd.DataFrame, arm: str) -> dict[int, str]:
    """'complete', 'failed' or 'missing' by seed, of one arm's trials."""
    rows = frame.loc[(frame["arm"] == arm).to_numpy(), ["seed", "status"]]
    return dict(zip(rows["seed"].tolist(), rows["status"].tolist(), strict=True))


def progress_of(frame: pd.DataFrame, arm: str) -> Progress:
    """The progress of one arm's trials."""
    statuses = list(statuses_of(frame, arm).values())
    return Progress(*(statuses.count(status) for status in ("complete", "failed", "missing")))


# ---- cost --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmCost:
    """What an arm costs; NaN where no trial of it is complete."""

    # fmt: off
    macs: float                # multiply-accumulates of one forward pass of one sample
    conditioning_macs: float   # those that the arm's methods add to the backbone
    params: float
    images_per_s: float        # in training, mean over seeds, on the machine that ran it
    # fmt: on


def cost_of(records: list[Record]) -> ArmCost:
    """The cost of an arm, given its complete records."""
    cost = records[0].cost if records else None
    rates = [r.timing["train_images_per_s"] for r in records if "train_images_per_s" in r.timing]
    rate = float(np.mean(rates)) if rates else NAN
    if cost is None:
        return ArmCost(NAN, NAN, NAN, rate)
    return ArmCost(
        macs=float(cost.macs.total),
        conditioning_macs=float(cost.macs.conditioning),
        params=float(cost.params.total),
        images_per_s=rate,
    )
