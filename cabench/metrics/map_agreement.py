"""How well the edges of samples agree with the map of edges that they are conditioned on."""

from __future__ import annotations

import numpy as np

from cabench.data import maps
from cabench.data.dataset import Dataset
from cabench.errors import CabenchError
from cabench.metrics.extractors import Features
from cabench.metrics.extractors.base import on_white
from cabench.metrics.scorer import SampleScorer
from cabench.registry import METRICS

BATCH = 250  # images at a time: their gradients are whole numbers of 32 bit
TOLERANCE = 0.0075  # of the diagonal, as in the Berkeley benchmark (Martin et al. 2004)


def agreement(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 (N,) of the edges of images (N, C, H, W) uint8 against maps (N, C, H, W) uint8.

    Precision is the share of an image's edge pixels that have one of its map within the tolerance,
    recall the share of the map's that have one of the image; 1 if there are none in either. A
    pixel of a map is an edge above 127 in any channel.
    """
    drawn = maps.edges(on_white(images))[:, 0] > 0  # (N, H, W)
    expected = targets.max(axis=1) > 127
    precision, recall = _near(drawn, expected), _near(expected, drawn)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    either = drawn.any((1, 2)) | expected.any((1, 2))
    return np.where(either, f1, 1.0)


def _near(these: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) share of the pixels in `these` (N, H, W) with one of `others` near; 0 without any."""
    hits = (these & _widened(others)).sum((1, 2))
    return hits / np.maximum(these.sum((1, 2)), 1)


def _widened(pixels: np.ndarray) -> np.ndarray:
    """Pixels (N, H, W) and all within the tolerance of one: below a pixel up to 47x47."""
    from scipy.ndimage import binary_dilation

    radius = round(TOLERANCE * float(np.hypot(*pixels.shape[1:])))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return binary_dilation(pixels, (x**2 + y**2 <= radius**2)[None])


@METRICS.register("map_agreement")
class MapAgreement:
    """Agreement of samples with their map of edges: F1 of edge pixels, in [0, 1]; higher is better.

    The edges of each sample, by the filter of data/maps.py, are compared with the stream `edges`:
    mean over samples of F1, with a tolerance of 0.0075 of the diagonal. The reference is the set of
    real images that the maps are of.
    """

    version = maps.VERSION
    needs = "samples"
    libraries = ("scipy",)
    conditions = (maps.EDGES,)
    higher_is_better = True
    label = "edge agreement@{n}"
    min_samples = 1

    @staticmethod
    def check(dataset: Dataset) -> None:
        if maps.EDGES not in dataset.maps:
            text = f"data set '{dataset.name}' has no map '{maps.EDGES}'"
            raise CabenchError(f"map_agreement: {text}")

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        return _mean(images, np.arange(len(images)), scorer)

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """The agreement of the real images that the samples' maps are of."""
        return _mean(scorer.dataset.split(scorer.reference).images, scorer.rows, scorer)


def _mean(images: np.ndarray, rows: np.ndarray, scorer: SampleScorer) -> float:
    """The mean agreement of the images at `rows`, one per sample, with the samples' maps."""
    batches = [slice(start, start + BATCH) for start in range(0, len(rows), BATCH)]
    each = [agreement(images[rows[b]], scorer.maps(maps.EDGES, b)) for b in batches]
    return float(np.concatenate(each).mean())
