"""The first scores of a metric, on real images and on noise or on an untrained network.

They show before a training what would otherwise fail after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cabench.data.dataset import Dataset
from cabench.metrics.scorer import SampleScorer
from cabench.registry import METRICS

if TYPE_CHECKING:
    from cabench.metrics.clip import Clip
    from cabench.records.spec import ModelSpec

SAMPLES = 110  # real images that a metric scores, if it needs no more
HELDOUT = {"images": 50, "bins": 5, "repeats": 1}


@dataclass(frozen=True)
class FirstScores:
    """A metric of real images and of noise with the same labels."""

    n: int
    real: float
    noise: float
    higher_is_better: bool

    @property
    def finite(self) -> bool:
        return math.isfinite(self.real) and math.isfinite(self.noise)

    @property
    def noise_is_worse(self) -> bool:
        return self.noise < self.real if self.higher_is_better else self.noise > self.real

    @property
    def text(self) -> str:
        seen = f"{self.real:.4g} of {self.n} real images, {self.noise:.4g} of noise"
        return seen if self.finite else f"expected finite numbers, got {seen}"


def samples(name: str, most: int | None = None) -> int:
    """How many images a metric scores at first; at most `most`, which it is known to take."""
    n = max(SAMPLES, METRICS.get(name).min_samples)
    return n if most is None else min(n, most)


def of_images(
    name: str, dataset: Dataset, n: int, cache: Path, clip: Clip | None = None
) -> FirstScores:
    """Scores of n images of judge-train and of noise; errors are the metric's own."""
    scorer = SampleScorer(dataset, n, cache, metrics=[name], clip=clip)
    noise = np.random.RandomState(0).randint(0, 256, (n, *dataset.shape)).astype(np.uint8)
    real, noisy = scorer.floor()[name], scorer.score(noise, scorer.labels)[name]
    return FirstScores(n, real, noisy, METRICS.get(name).higher_is_better)


def of_network(name: str, dataset: Dataset, spec: ModelSpec) -> dict[str, float]:
    """What a metric of networks returns for one that is not trained."""
    import torch

    from cabench.diffusion.process import Process
    from cabench.models.contract import SPREAD
    from cabench.models.model import build_initialised

    model = build_initialised(spec, 0).eval()
    torch.manual_seed(0)
    with torch.no_grad():  # maps and heads start at zero, so that a norm of the prediction may be 0
        for p in model.parameters():
            p.add_(SPREAD * torch.randn_like(p))
    images = min(HELDOUT["images"], *(len(split) for split in dataset.splits.values()))
    heldout = HELDOUT | {"images": images, "bins": min(HELDOUT["bins"], images)}
    return METRICS.get(name).compute(model, Process("v", "cosine"), dataset, heldout, "cpu")
