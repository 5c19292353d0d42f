"""Classes that a split has no image of: they are named, since nothing else would show it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cabench.data.dataset import SPLITS, Dataset
from cabench.errors import listed, one_line

EFFECTS = {  # what is missing without the images of a split
    SPLITS[0]: "cannot be learned",
    SPLITS[1]: "have no real images for the metrics",
    SPLITS[2]: "are never sampled",
}


def class_counts(dataset: Dataset, split: str, stream: str = "label") -> np.ndarray:
    """(K,) images of each class in a split."""
    labels = dataset.splits[split].streams[stream]
    return np.bincount(labels, minlength=len(dataset.classes[stream]))


def absent_classes(dataset: Dataset, streams: Iterable[str]) -> list[str]:
    """A line for each stream and split that lacks classes, with their images in all splits.

    'label: report has no image of 2 of 3 classes, which are never sampled: cats (1), dogs (2)'
    """
    lines = []
    for stream in streams:
        names = dataset.classes[stream]
        counts = {split: class_counts(dataset, split, stream) for split in SPLITS}
        total = np.sum(list(counts.values()), axis=0)
        for split in SPLITS:
            absent = [f"{names[k]} ({total[k]:,})" for k in np.flatnonzero(counts[split] == 0)]
            if absent:
                lines.append(
                    f"{stream}: {split} has no image of {len(absent):,} of {len(names):,} classes, "
                    f"which {EFFECTS[split]}: {listed(absent)}"
                )
    return list(map(one_line, lines))
