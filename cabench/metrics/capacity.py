"""How many samples a data set allows: each is compared with real images of the same label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data import options_model
from cabench.data.class_sizes import class_counts
from cabench.data.dataset import SPLITS, Dataset
from cabench.errors import CabenchError
from cabench.metrics.reference import proportional
from cabench.metrics.scorer import FLOOR, REFERENCE, SampleScorer
from cabench.registry import METRICS


@dataclass(frozen=True)
class Capacity:
    """The largest number of samples that can be scored, and why not more."""

    n: int
    limit: str


def capacity(
    dataset: Dataset,
    stream: str = "label",
    splits: Iterable[str] = SPLITS,  # that need real images of the samples' labels
    halved: bool = False,  # each seed draws half of generator-train and report
) -> Capacity:
    """The largest n for which every split has different real images with the samples' labels."""
    if stream not in dataset.classes:
        return Capacity(0, f"it has no stream '{stream}'")
    counts = {split: class_counts(dataset, split, stream) for split in SPLITS}
    if halved:
        counts = {s: c if s == FLOOR else -(-c // 2) for s, c in counts.items()}
    report = counts[REFERENCE]
    chosen = {split: counts[split] for split in splits}
    available = np.minimum.reduce([report, *chosen.values()])
    n = largest_n(report, available)
    if n == report.sum():
        return Capacity(n, f"all images of '{REFERENCE}'")
    ratio = np.where(report > 0, (available + 1) / np.maximum(report, 1), np.inf)
    worst = int(ratio.argmin())
    split = min(chosen, key=lambda name: chosen[name][worst])
    name = dataset.classes[stream][worst]
    return Capacity(
        n,
        f"class '{name}' is {report[worst]:,} of {report.sum():,} images in '{REFERENCE}' and has "
        f"{chosen[split][worst]:,} in '{split}'",
    )


def largest_n(report: np.ndarray, available: np.ndarray) -> int:
    """The largest n whose labels, proportional to `report` (K,), are at most `available` (K,)."""
    total = int(report.sum())
    present = report > 0
    if not total:
        return 0
    most = ((available[present] + 1) * total // report[present]).min()
    n = int(min(total, most))
    while n and (proportional(report, n) > available).any():
        n -= 1
    return n


def shortfall(name: str, dataset: Dataset, n: int, labels: np.ndarray | None = None) -> str:
    """Why a metric cannot score n samples of a data set, or ''; `labels` as SampleScorer's."""
    metric = METRICS.get(name)
    if metric.needs != "samples":
        return ""
    if n < metric.min_samples:
        return f"needs {metric.min_samples:,} samples"
    try:  # creating a scorer is cheap and checks the data
        SampleScorer(dataset, n, Path(), metrics=[name], labels=labels)
    except CabenchError as error:
        return re.sub(r"^\w+: ", "", str(error))  # the metric that says so
    return ""


HELD_OUT, QUARTER = "held_out", 0.25


def roomier(source: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options with a quarter of every class held out, if the source can and none says so."""
    if HELD_OUT in options or HELD_OUT not in options_model(source).model_fields:
        return None
    return {**options, HELD_OUT: QUARTER}
