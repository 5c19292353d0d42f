"""The contract of feature extractors: frozen networks whose features metrics compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cabench.errors import listed
from cabench.registry import EXTRACTORS

DEFAULT = "efficientnet-lite0"  # the extractor of metrics that name none
Features = dict[str, np.ndarray]  # layer -> (N, D) float32
CHANNELS = (1, 3, 4)  # of images that can be scored: grey, RGB, RGBA


class FeatureExtractor(Protocol):
    """What a class registered in EXTRACTORS provides. A metric names it: `extractor = "mine"`.

    Optional member: `libraries = ()`, packages that it imports, tried before anything trains.

    @EXTRACTORS.register("mine")
    class Mine: ...
    """

    def __init__(self, cache: Path, threads: int = 1) -> None:
        """Opens no network yet.

        `cache`: a directory for exported networks; `threads`: CPU threads, without effect on the
        features.
        """

    @classmethod
    def fingerprint_of(cls) -> str:
        """sha256 of everything that decides a feature, the weights included; part of trial keys."""
        ...

    def features(self, images: np.ndarray) -> Features:
        """Images (N, 1 or 3, H, W) uint8 -> {layer: (N, D) float32}."""
        ...


class BuiltInExtractor(FeatureExtractor, Protocol):
    """An extractor with entries in the table of metrics in `metrics.families`."""

    # fmt: off
    name: str               # set by EXTRACTORS.register
    short: str              # in names of metrics: fid_inception
    title: str              # in their labels; "" for Inception, whose FID is plain "FID"
    widths: dict[str, int]  # layer -> channels
    layers: dict[str, str]  # kind of score (fid, kid, prc, isc) -> layer
    # fmt: on


def on_white(images: np.ndarray) -> np.ndarray:
    """Images (N, 4, H, W) uint8 composited on white, (N, 3, H, W); those without alpha as given."""
    if images.shape[1] != 4:
        return images
    seen = np.empty((len(images), 3, *images.shape[2:]), np.uint8)
    for row, image in enumerate(images):
        colour, opacity = image[:3].astype(np.uint16), image[3].astype(np.uint16)
        seen[row] = (colour * opacity + 255 * (255 - opacity) + 127) // 255
    return seen


def contract(extractor: Any) -> str | None:
    """What is wrong with a registered feature extractor, or None."""
    absent = [name for name in ("fingerprint_of", "features") if not hasattr(extractor, name)]
    return f"missing {listed(absent)}" if absent else None


EXTRACTORS.contract = contract
