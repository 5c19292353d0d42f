"""The cached files of real images' features, named by what decides their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cabench.data.dataset import Dataset
from cabench.metrics.extractors import GPU_VERSION, FeatureExtractor
from cabench.metrics.reference import FLOOR, REFERENCE
from cabench.registry import EXTRACTORS


def fingerprint_on(extractor: type[FeatureExtractor] | FeatureExtractor, on_gpu: bool) -> str:
    """The fingerprint of an extractor's features, which differ a little on a GPU."""
    return extractor.fingerprint_of() + f" on a GPU {GPU_VERSION}" * on_gpu


def features_path(cache: Path, dataset: Dataset, fingerprint: str, split: str) -> Path:
    """The file of a split's features; `fingerprint` is from `fingerprint_on`."""
    return cache / "judge" / f"features-{short_hash(dataset.fingerprint, fingerprint)}-{split}.npz"


def absent_features(dataset: Dataset, cache: Path, extractor: str, on_gpu: bool) -> int:
    """The number of real images whose features the cache lacks, so that a run computes them."""
    fingerprint = fingerprint_on(EXTRACTORS.get(extractor), on_gpu)
    return sum(
        len(dataset.split(split).images)
        for split in (REFERENCE, FLOOR)
        if not features_path(cache, dataset, fingerprint, split).exists()
    )


def short_hash(*parts: object) -> str:
    """16 hex digits that identify the content of a cached file."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
