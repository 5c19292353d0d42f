"""Maps of the image's size as condition streams, such as edges or a mask.

A map is an image (C, H, W) uint8 of the size that the network's images have. `edges` makes one of
any image; the metric `map_agreement` applies it to samples.
"""

from __future__ import annotations

import numpy as np

EDGES = "edges"  # the stream whose maps are those of `edges`
VERSION = 1  # of `edges`; raise it whenever an image would have other edges
THRESHOLD = 306  # of the gradient of grey, summed over Sobel's weights: 0.3 of the 1020 of a step


def edges(images: np.ndarray) -> np.ndarray:
    """Edges (N, 1, H, W) uint8, 255 or 0, of images (N, C, H, W) uint8.

    Sobel's gradient of the mean over channels, with the border repeated, is larger than 0.3 of that
    of a step from black to white. All numbers are whole, so every machine has the same edges.
    """
    grey = images.sum(axis=1, dtype=np.int32)  # (N, H, W)
    squares = sum(np.square(_sobel(grey, along, across)) for along, across in ((1, 2), (2, 1)))
    is_edge = squares > (THRESHOLD * images.shape[1]) ** 2
    return np.where(is_edge, 255, 0).astype(np.uint8)[:, None]


def _sobel(grey: np.ndarray, along: int, across: int) -> np.ndarray:
    """The difference along one axis of (N, H, W), smoothed across it; no axis mixes images."""
    from scipy import ndimage  # here: it takes a while to import

    difference = ndimage.correlate1d(grey, [-1, 0, 1], axis=along, mode="nearest")
    return ndimage.correlate1d(difference, [1, 2, 1], axis=across, mode="nearest")
