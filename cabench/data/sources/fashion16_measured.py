"""Fashion-MNIST at 16x16 with a stream of numbers: what each image measures.

`measures` is (grey, width, height, lean): the mean grey level, the standard deviation of the
position of grey over columns and over rows, and their correlation; moments of the image as a
distribution of grey (Hu 1962, IEEE Trans. Inf. Theory 8, sec. II). They are computed from the
images themselves, as a stand-in for conditions such as pose, and standardised over generator-train.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cabench.data.dataset import Dataset
from cabench.data.sources.fashion16 import fashion16
from cabench.data.vectors import standardised
from cabench.registry import DATASETS

STREAM = "measures"
NAMES = ("grey", "width", "height", "lean")


@DATASETS.register("fashion16-measured")
def fashion16_measured() -> Dataset:
    """Fashion-MNIST at 16x16 with four numbers per image: grey, width, height, lean."""
    dataset = fashion16()
    raw = {name: {STREAM: measures(split.images)} for name, split in dataset.splits.items()}
    vectors = standardised("fashion16-measured", raw)
    return dataclasses.replace(
        dataset,
        name="fashion16-measured",
        splits={
            name: dataclasses.replace(split, vectors=vectors[name])
            for name, split in dataset.splits.items()
        },
        fingerprint="",
    )


def measures(images: np.ndarray) -> np.ndarray:
    """(N, 4) float64 of images (N, C, H, W) uint8: mean grey level, and moments in pixels.

    Columns: grey in [0, 255]; standard deviation of x and of y weighted by grey; their correlation
    in [-1, 1]. A black image has grey 0, the spread of a flat one, and no correlation.
    """
    grey = images.mean(axis=1, dtype=np.float64)  # (N, H, W)
    level = grey.mean(axis=(1, 2))
    weight = np.where(level[:, None, None] > 0, grey, 1.0)
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]].astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return (weight * values).sum(axis=(1, 2))

    dx = x - mean(x)[:, None, None]
    dy = y - mean(y)[:, None, None]
    width, height = np.sqrt(mean(dx**2)), np.sqrt(mean(dy**2))
    lean = mean(dx * dy) / np.maximum(width * height, 1e-12)
    return np.stack([level, width, height, lean], axis=1)
