"""Is a sample new or a copy? Distances to the nearest training image in feature space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cabench.metrics.fidelity import one_thread

VERSION = 1
MOST = 10_000  # training images compared with: the first ones of the split, in random order
QUANTILE = 0.01  # a sample nearer than this quantile of new real images counts as a copy
BLOCK = 500  # samples at a time


@dataclass(frozen=True)
class Neighbours:
    """How near samples come to training images, compared with new real images."""

    # fmt: off
    memorised: float      # share of samples nearer than the QUANTILE of new real images
    ratio: float          # median distance of samples / of new real images
    of: int               # training images that were compared with
    distance: np.ndarray  # (n,) to the nearest training image
    index: np.ndarray     # (n,) of that image in the training split
    # fmt: on


def nearest(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (n,) float64 and index (n,) of the nearest of others (m, D) for features (n, D)."""
    distance, index = np.empty(len(features)), np.empty(len(features), np.int64)
    others = others.astype(np.float32)
    size = np.square(others.astype(np.float64)).sum(1)  # (m,)
    with one_thread():
        for start in range(0, len(features), BLOCK):
            part = features[start : start + BLOCK].astype(np.float32)  # (B, D)
            place = (size - 2.0 * (part @ others.T)).argmin(1)  # (B,)
            index[start : start + BLOCK] = place
            gap = part.astype(np.float64) - others[place]  # exactly 0 for a copy
            distance[start : start + BLOCK] = np.sqrt(np.square(gap).sum(1))
    return distance, index


def compare(distance: np.ndarray, index: np.ndarray, real: np.ndarray, of: int) -> Neighbours:
    """Compares samples' distances (n,) with those of new real images, `real` (n,)."""
    threshold = np.quantile(real, QUANTILE)
    return Neighbours(
        memorised=float((distance < threshold).mean()),
        ratio=float(np.median(distance) / np.median(real)),
        of=of,
        distance=distance,
        index=index,
    )
