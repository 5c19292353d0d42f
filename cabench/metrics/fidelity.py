"""FID, KID, precision, recall and Inception score of features, by torch-fidelity's functions.

In float64, because sums of the kernel in float32 change KID by 1e-6, about the size of a floor near
zero; on one BLAS thread, because two threads add in another order. Importing this loads no torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from cabench.errors import CabenchError

if TYPE_CHECKING:
    from torch import Tensor

KID = {
    "kid_subsets": 1,
    "kid_kernel": "poly",
    "kid_kernel_poly_degree": 3,
    "kid_kernel_poly_gamma": None,
    "kid_kernel_poly_coef0": 1.0,
}
NEIGHBOURS = 3  # of precision and recall
SPLITS = 10  # of the Inception score
WHOLE = 10_000  # up to so many images the kernel is one matrix; above, it is computed in blocks
KID_MIN = 100  # images; below, KID's spread over draws exceeds the differences of interest


def kid(generated: np.ndarray, reference: np.ndarray, least: int = KID_MIN) -> float:
    """KID (arXiv 1801.01401, sec. 4): unbiased squared MMD of two sets of features (n, D).

    The kernel is (x.y / D + 1)^3. One subset of all n images, so nothing is random. Unbiased, hence
    possibly below 0; lower is better. Raises CabenchError for n < `least`.

    Sets with equal label counts are not independent draws: two images of one set share a label a
    little less often than two images across sets. Perfect samples therefore lie below zero by about
    2 (1 - 1/K) / (n - 1) x (mean kernel of equal labels - of different labels). On fashion16: -.009
    at n=1000 (sd over draws .003), -.002 at n=2000 (.002). Compare with the floor, not with zero.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_featuresdict_to_metric

    n = min(len(generated), len(reference))
    if n < least:
        raise CabenchError(f"KID: expected at least {least} images, got {n}")
    if n > WHOLE:
        return blocked_kid(generated[:n], reference[:n])
    with one_thread():
        metrics = kid_featuresdict_to_metric(
            {"f": _tensor(generated)},
            {"f": _tensor(reference)},
            "f",
            kid_subset_size=n,
            verbose=False,
            **KID,
        )
    return metrics[KEY_METRIC_KID_MEAN]


def blocked_kid(x: np.ndarray, y: np.ndarray, block: int = 2000) -> float:
    """KID of features (n, D), with `block` rows of the (n, n) kernel in memory at a time."""
    n, x, y = len(x), x.astype(np.float64), y.astype(np.float64)

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(
            float(((a[i : i + block] @ b.T / a.shape[1] + 1) ** 3).sum())
            for i in range(0, n, block)
        )

    def diagonal(a: np.ndarray) -> float:
        return float(((np.square(a).sum(1) / a.shape[1] + 1) ** 3).sum())

    within = (total(x, x) - diagonal(x) + total(y, y) - diagonal(y)) / (n * (n - 1))
    return within - 2 * total(x, y) / n**2


Moments = tuple[np.ndarray, np.ndarray]  # mean (D,) and covariance (D, D) of features, float64


def fid(generated: np.ndarray, reference: np.ndarray | Moments, least: int | None = None) -> float:
    """FID (arXiv 1706.08500, eq. 6): Frechet distance of Gaussians fitted to features (n, D).

    The reference is features (m, D) of real images, or their mean and covariance. In [0, inf),
    lower is better. Biased upwards by an amount that depends on n: compare at equal n only. Raises
    CabenchError for n < `least`, by default 2 D: covariances of fewer are nearly singular.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    given = isinstance(reference, tuple)
    n = len(generated) if given else min(len(generated), len(reference))
    width = generated.shape[1]
    needed = 2 * width if least is None else least
    if n < needed:
        raise CabenchError(
            f"FID: expected at least {needed} images for {width} dimensions, got {n}"
        )
    with one_thread():
        moments = [_moments(generated), reference if given else _moments(reference)]
        statistics = [{"mu": mean, "sigma": covariance} for mean, covariance in moments]
        return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def _moments(features: np.ndarray) -> Moments:
    from torch_fidelity.metric_fid import fid_featuresdict_to_statistics

    statistics = fid_featuresdict_to_statistics({"f": _tensor(features)}, "f")
    return statistics["mu"], statistics["sigma"]


def precision_recall(generated: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Improved precision and recall (arXiv 1904.06991, eq. 3) of features (n, D), with k = 3.

    Precision is the share of samples inside the ball of a real image that reaches to its third
    neighbour; recall is the share of real images inside the ball of a sample. Both are in [0, 1],
    higher is better, and depend on n: compare at equal n only. Raises CabenchError for n <= k.
    """
    from torch_fidelity.metric_prc import prc_features_to_metric

    n = min(len(generated), len(reference))
    if n <= NEIGHBOURS:
        raise CabenchError(
            f"precision and recall: expected at least {NEIGHBOURS + 1} images, got {n}"
        )
    with one_thread():
        metrics = prc_features_to_metric(
            _tensor(generated),
            _tensor(reference),
            prc_neighborhood=NEIGHBOURS,
            verbose=False,
            save_cpu_ram=True,
            prc_batch_size=2000,
        )
    return metrics["precision"], metrics["recall"]


def inception_score(logits: np.ndarray) -> float:
    """Inception score (arXiv 1606.03498, sec. 4) of logits (n, K): exp(E KL(p(y|x) || p(y))).

    The mean over SPLITS parts of the samples, shuffled with torch-fidelity's fixed seed. In [1, K],
    higher is better. Raises CabenchError for n < SPLITS.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    if len(logits) < SPLITS:
        raise CabenchError(f"Inception score: expected at least {SPLITS} images, got {len(logits)}")
    with one_thread():
        return isc_features_to_metric(_tensor(logits), splits=SPLITS)[KEY_METRIC_ISC_MEAN]


def one_thread() -> AbstractContextManager[object]:
    """A context in which BLAS and OpenMP use one thread, so that sums have a fixed order."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _tensor(features: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(features.astype(np.float64))
