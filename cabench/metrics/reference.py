"""Which labels to generate, and the real pictures with the same labels to compare with."""

from __future__ import annotations

import numpy as np

from cabench.errors import CabenchError


def report_labels(labels: np.ndarray, n: int) -> np.ndarray:
    """(n,) int64 labels to generate for a report split with `labels` (N,).

    The split's own multiset when n is N, k times it when n is k N, else in proportion (largest
    remainder, ties to the smaller label). The first ones are one of each class, then classes
    alternate by their share, so that every prefix is a fair picture of the whole.
    """
    if n < 1:
        raise CabenchError(f"samples to score: {n}, at least 1 is needed")
    classes, counts = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(n * counts, len(labels))
    first = np.argsort(-remainders, kind="stable")[: n - shares.sum()]
    shares[first] += 1
    turn = np.concatenate([np.arange(share) / share for share in shares if share])
    return np.repeat(classes, shares)[np.argsort(turn, kind="stable")].astype(np.int64)


def matched(split_labels: np.ndarray, wanted: np.ndarray, where: str, seed: int = 0) -> np.ndarray:
    """Indices of len(wanted) different pictures of a split with exactly the labels in `wanted`.

    Per label the first ones of a fixed shuffle (RandomState: its numbers never change, NEP 19).
    """
    order = np.random.RandomState(seed).permutation(len(split_labels))
    labels, counts = np.unique(wanted, return_counts=True)
    members = [order[split_labels[order] == label] for label in labels]
    held = np.array([len(found) for found in members])
    if (held < counts).any():
        worst = np.argmin(held / counts)
        raise CabenchError(
            f"{where}: {len(wanted)} samples need {counts[worst]} real pictures of label "
            f"{labels[worst]}, found {held[worst]}; "
            f"at most about {len(wanted) * held[worst] // counts[worst]} samples can be scored"
        )
    return np.concatenate([found[:count] for found, count in zip(members, counts, strict=True)])
