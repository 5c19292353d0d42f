"""Streams of numbers: one or several per image, such as a pose or a measure of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cabench.data.dataset import SPLITS, Vectors
from cabench.errors import DataMissing

LONGEST = 1024  # numbers of a vector


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_vector(value: Any) -> bool:
    """Whether a value is a number or a list of numbers."""
    if isinstance(value, list):
        return 0 < len(value) <= LONGEST and all(map(is_number, value))
    return is_number(value)


def as_row(value: Any) -> list[float]:
    """A number or a list of numbers as a list."""
    return list(map(float, value)) if isinstance(value, list) else [float(value)]


def standardised(source: str, vectors: Mapping[str, Vectors]) -> dict[str, Vectors]:
    """Each split's vectors (N, D) with mean 0 and standard deviation 1 over generator-train.

    A number that is 0 or 1 everywhere, such as whether an image has a label, becomes -1 or 1: a
    rare 1 would lie many deviations away, where the embedding's waves repeat themselves.
    DataMissing if a number is the same for all of its images.
    """
    scaled: dict[str, Vectors] = {split: {} for split in vectors}
    for name, values in vectors[SPLITS[0]].items():
        trained = values.astype(np.float64)  # (N, D)
        mean, deviation = trained.mean(axis=0), trained.std(axis=0)
        if (constant := np.flatnonzero(deviation <= 1e-9 * np.maximum(1, abs(mean)))).size:
            raise DataMissing(
                f"{source}: {name}: number {constant[0] + 1} of {len(mean)} is "
                f"{mean[constant[0]]:g} for all images of '{SPLITS[0]}'; a condition must vary"
            )
        parts = [part[name] for part in vectors.values()]
        binary = np.logical_and.reduce([((p == 0) | (p == 1)).all(axis=0) for p in parts])
        mean, deviation = np.where(binary, 0.5, mean), np.where(binary, 0.5, deviation)
        for split, part in vectors.items():
            scaled[split][name] = ((part[name] - mean) / deviation).astype(np.float32)
    return scaled
