"""Is a sample new, or a training picture? Distances to the nearest one, in feature space."""

from __future__ import annotations

import numpy as np

from cabench.metrics.fidelity import one_thread

VERSION = 1
MOST = 10_000  # training pictures looked at: the split's first ones, whose order is random
QUANTILE = 0.01  # of real pictures' distances: what is nearer than that counts as a copy
BLOCK = 500  # samples at a time


def nearest(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, D), (m, D) -> distance (n,) to the nearest of the others, float64, and its index (n,)."""
    distance, index = np.empty(len(features)), np.empty(len(features), np.int64)
    others = others.astype(np.float32)
    size = np.square(others.astype(np.float64)).sum(1)
    with one_thread():
        for start in range(0, len(features), BLOCK):
            part = features[start : start + BLOCK].astype(np.float32)
            place = (size - 2.0 * (part @ others.T)).argmin(1)
            index[start : start + BLOCK] = place
            gap = part.astype(np.float64) - others[place]  # exact where the nearest is a copy
            distance[start : start + BLOCK] = np.sqrt(np.square(gap).sum(1))
    return distance, index
