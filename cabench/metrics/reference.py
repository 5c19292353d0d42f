"""Which labels to generate, and real images with the same labels to compare with."""

from __future__ import annotations

import numpy as np

from cabench.errors import CabenchError

REFERENCE, FLOOR, TRAINED = "report", "judge-train", "generator-train"  # splits


def report_labels(labels: np.ndarray, n: int) -> np.ndarray:
    """(n,) int64 labels to generate for a report split with `labels` (N,).

    Their counts are the split's when n = N, k times those when n = k N, and proportional otherwise
    (largest remainder, ties to the smaller label). The first labels are one of each class, then
    classes alternate by their share, so that every prefix is representative.
    """
    if n < 1:
        raise CabenchError(f"samples to score: expected at least 1, got {n}")
    classes, counts = np.unique(labels, return_counts=True)
    shares = proportional(counts, n)
    turn = np.concatenate([np.arange(share) / share for share in shares if share])
    return np.repeat(classes, shares)[np.argsort(turn, kind="stable")].astype(np.int64)


def proportional(counts: np.ndarray, n: int) -> np.ndarray:
    """(K,) whole numbers that sum to n, proportional to `counts` (K,) by largest remainder."""
    shares, remainders = np.divmod(n * counts, counts.sum())
    first = np.argsort(-remainders, kind="stable")[: n - shares.sum()]
    shares[first] += 1
    return shares


def matched(split_labels: np.ndarray, target: np.ndarray, where: str, seed: int = 0) -> np.ndarray:
    """Indices (n,) of different images of a split with the same label counts as `target` (n,).

    Grouped by label; of each label the first ones of a seeded permutation. RandomState, because its
    numbers never change (NEP 19). Raises CabenchError if a label has too few images; the message
    starts with `where`.
    """
    order = np.random.RandomState(seed).permutation(len(split_labels))
    labels, counts = np.unique(target, return_counts=True)
    members = [order[split_labels[order] == label] for label in labels]
    available = np.array([len(indices) for indices in members])
    if (available < counts).any():
        worst = np.argmin(available / counts)
        most = len(target) * available[worst] // counts[worst]
        raise CabenchError(
            f"{where}: {len(target)} samples need {counts[worst]} real images of label "
            f"{labels[worst]}, got {available[worst]}; at most about {most} samples can be scored"
        )
    return np.concatenate([indices[:k] for indices, k in zip(members, counts, strict=True)])
