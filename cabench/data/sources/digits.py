"""Handwritten digits: 1,797 images, 8x8 grey, from scikit-learn (UCI, CC BY 4.0); for tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, stratified
from cabench.errors import DataMissing
from cabench.registry import DATASETS


@DATASETS.register("digits")
def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits at 8x8 grey; for tests and smoke."""
    rows = np.loadtxt(find_table(), delimiter=",", dtype=np.int64)  # (1797, 64 pixels + label)
    images = np.rint(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = rows[:, 64]
    all_images = Split(images, {"label": labels})
    parts = stratified(labels, (0.6, 0.2, 0.2))
    return Dataset(
        name="digits",
        licence="CC BY 4.0 (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository)",
        classes={"label": [str(digit) for digit in range(10)]},
        flip=False,
        splits={name: all_images.take(index) for name, index in zip(SPLITS, parts, strict=True)},
    )


def find_table() -> Path:
    """The file that sklearn.datasets.load_digits reads; importing sklearn takes 2 s per worker."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataMissing("digits: scikit-learn is not installed; `pip install scikit-learn`")
    path = Path(package.origin).parent / "datasets/data/digits.csv.gz"
    if not path.is_file():
        raise DataMissing(
            f"digits: no such file: {path}; `pip install --force-reinstall scikit-learn`"
        )
    return path
