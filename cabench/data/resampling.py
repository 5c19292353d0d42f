"""Another draw of a data set's images for each seed: half of them, without replacement.

The variance that one draw adds is that of a fresh sample of the whole size, s^2 / (n/2) * (1 - 1/2)
= s^2 / n (half-samples: McCarthy 1969). A mean over k seeds has a k-th of it, while the error due
to the images that there are stays s^2 / n: intervals cover the draw, not other images (Nadeau and
Bengio 2003, "Inference for the generalization error", correct for that by 1/k + 1).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cabench.data.dataset import Dataset, Split
from cabench.errors import CabenchError

VERSION = 1  # raise it whenever a seed would draw other images
RESAMPLED = ("generator-train", "report")  # judge-train stays: it defines the metrics' networks


def resampled(dataset: Dataset, seed: int) -> Dataset:
    """The data set with half of generator-train and half of report, drawn class by class.

    Of a class with m images, ceil(m / 2) are drawn, so every seed has the same counts.
    """
    if any(split.latents is not None for split in dataset.splits.values()):
        raise CabenchError(f"data set '{dataset.name}' holds latents, which cannot be resampled")
    rng = np.random.RandomState([VERSION, seed])  # NumPy promises a fixed stream (NEP 19)
    halves = {}
    for name in RESAMPLED:
        split = dataset.split(name)
        halves[name] = split.take(half(_classes(split), rng))
    return dataclasses.replace(dataset, splits=dataset.splits | halves, fingerprint="")


def half(classes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Rising row numbers of half of each class; `classes` is (N,)."""
    order = rng.permutation(len(classes))
    drawn = []
    for value in np.unique(classes):
        members = order[classes[order] == value]
        drawn.append(members[: -(-len(members) // 2)])
    return np.sort(np.concatenate(drawn))


def _classes(split: Split) -> np.ndarray:
    return split.streams.get("label", np.zeros(len(split), np.int64))
