"""KID, FID, precision, recall and Inception score of features, by torch-fidelity's own functions.

They run in float64 and on one BLAS thread: float32 kernel sums move KID by 1e-6, as much as the
floor of real images, and BLAS sums in another order on two threads. torch is imported at the first
call.
"""

from __future__ import annotations

import numpy as np

from cabench.errors import CabenchError

KID = {
    "kid_subsets": 1,
    "kid_kernel": "poly",
    "kid_kernel_poly_degree": 3,
    "kid_kernel_poly_gamma": None,
    "kid_kernel_poly_coef0": 1.0,
}
NEIGHBOURS = 3  # of precision and recall
SPLITS = 10  # of the Inception score
WHOLE = 10_000  # pictures whose kernels are held whole; of more block by block
KID_MIN = 100  # below, KID's spread over draws exceeds the differences that matter here


def kid(generated: np.ndarray, reference: np.ndarray, least: int = KID_MIN) -> float:
    """Unbiased squared MMD of two (n, D) sets, one subset of size n: no randomness is left.

    Sets with equal label counts are no independent draws: two pictures of one set share a label a
    little less often than two across, so perfect samples lie below zero by about
    2 (1 - 1/K) / (n - 1) x (mean kernel of equal labels - of different ones). fashion16: -.009 at
    n=1000 (sd over draws .003), -.002 at 2000 (.002). Compare with the floor, not with zero.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_featuresdict_to_metric

    n = min(len(generated), len(reference))
    if n < least:
        raise CabenchError(f"KID: {n} pictures are too few, at least {least} are needed")
    if n > WHOLE:
        return blocked_kid(generated[:n], reference[:n])
    with one_thread():
        out = kid_featuresdict_to_metric(
            {"f": _tensor(generated)},
            {"f": _tensor(reference)},
            "f",
            kid_subset_size=n,
            verbose=False,
            **KID,
        )
    return out[KEY_METRIC_KID_MEAN]


def blocked_kid(x: np.ndarray, y: np.ndarray, block: int = 2000) -> float:
    """The same number, with kernels of `block` rows at a time: torch-fidelity's are (n, n)."""
    n, x, y = len(x), x.astype(np.float64), y.astype(np.float64)

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(
            float(((a[i : i + block] @ b.T / a.shape[1] + 1) ** 3).sum())
            for i in range(0, n, block)
        )

    def own(a: np.ndarray) -> float:
        return float(((np.square(a).sum(1) / a.shape[1] + 1) ** 3).sum())

    within = (total(x, x) - own(x) + total(y, y) - own(y)) / (n * (n - 1))
    return within - 2 * total(x, y) / n**2


def fid(generated: np.ndarray, reference: np.ndarray, least: int | None = None) -> float:
    """Frechet distance of two (n, D) sets; n < 2 D is refused, where covariances are near singular.

    The distance is biased upwards by an amount that depends on n: compare equal n only.
    """
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_featuresdict_to_statistics,
        fid_statistics_to_metric,
    )

    n, least = min(len(generated), len(reference)), least or 2 * generated.shape[1]
    if n < least:
        raise CabenchError(
            f"FID: {n} pictures are too few for {generated.shape[1]} dimensions, "
            f"at least {least} are needed"
        )
    with one_thread():
        statistics = [
            fid_featuresdict_to_statistics({"f": _tensor(features)}, "f")
            for features in (generated, reference)
        ]
        return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def precision_recall(generated: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Of two (n, D) sets, with balls to the third neighbour (arXiv 1904.06991).

    Precision: samples inside a real picture's ball; recall: real pictures inside a sample's. Both
    depend on n: compare equal n only.
    """
    from torch_fidelity.metric_prc import prc_features_to_metric

    n = min(len(generated), len(reference))
    if n <= NEIGHBOURS:
        raise CabenchError(
            f"precision and recall: {n} pictures are too few, at least {NEIGHBOURS + 1} are needed"
        )
    with one_thread():
        out = prc_features_to_metric(
            _tensor(generated),
            _tensor(reference),
            prc_neighborhood=NEIGHBOURS,
            verbose=False,
            save_cpu_ram=True,
            prc_batch_size=2000,
        )
    return out["precision"], out["recall"]


def inception_score(logits: np.ndarray) -> float:
    """exp of the mean divergence of p(class | picture) from p(class), mean of SPLITS parts.

    (n, K) logits, shuffled by a fixed seed, as torch-fidelity does (arXiv 1606.03498).
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    if len(logits) < SPLITS:
        raise CabenchError(
            f"Inception score: {len(logits)} pictures are too few, at least {SPLITS} are needed"
        )
    with one_thread():
        return isc_features_to_metric(_tensor(logits), splits=SPLITS)[KEY_METRIC_ISC_MEAN]


def one_thread():
    """A context in which BLAS and OpenMP use one thread, hence always the same order of sums."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _tensor(features: np.ndarray):
    import torch

    return torch.from_numpy(features.astype(np.float64))
