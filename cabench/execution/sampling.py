"""The sampling and scoring steps of a trial: images are drawn once and passed on in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cabench.diffusion.checkpoints import load, save
from cabench.diffusion.ranks import ALONE, Ranks
from cabench.execution import joint
from cabench.metrics.extractors import Features
from cabench.metrics.scorer import REFERENCE, SampleScorer
from cabench.planning.trials import Trial
from cabench.records.store import Store

Progress = Callable[[str, float, str], None]  # stage, fraction of it done, a short note


@dataclass(frozen=True)
class Samples:
    """The samples of a split at the primary guidance."""

    scorer: SampleScorer
    images: np.ndarray  # (n, C, H, W) uint8
    features: np.ndarray  # (n, 1280) float32, of the default feature extractor


@dataclass(frozen=True)
class SplitScores:
    """Scores of all samples that are conditioned on one split."""

    samples: Samples
    metrics: dict[str, float]  # 'kid'; 'kid/g2' at guidance 2; 'kid/unseen'
    timing: dict[str, float]  # seconds of scoring


@dataclass(frozen=True)
class Sampler:
    """Draws a trial's samples from a snapshot, or reads them from the cache."""

    # fmt: off
    trial: Trial
    store: Store
    snapshot: Path
    guide: Path | None          # snapshot of the guide; None: classifier-free guidance
    device: str
    progress: Progress
    ranks: Ranks = ALONE
    # fmt: on

    def draw(self, scorer: SampleScorer, guidance: float) -> np.ndarray:
        """The samples (n, C, H, W) uint8 of one guidance value, conditioned on a split."""
        path = self.store.samples(self.trial.spec.sample_key(guidance, scorer.reference))
        if (cached := load(path)) is not None:
            return cached[0]["images"].numpy()
        images = self.ranks.call(
            joint.drawn,
            self.trial,
            self.store,
            self.device,
            self.snapshot,
            None if guidance == 1 else self.guide,
            guidance,
            scorer.reference,
            torch.from_numpy(scorer.rows),
            progress=lambda n: self.progress("sample", n / scorer.n, f"guidance {guidance:g}"),
        )
        save(path, {"images": images})
        return images.numpy()

    def _features(self, scorer: SampleScorer, images: np.ndarray) -> dict[str, Features]:
        """The samples' features by extractor, a part of the samples on each rank."""
        names = tuple(scorer.extractors)
        return self.ranks.call(joint.features, names, scorer.cache, self.device, images=images)

    def guidances(self, scorer: SampleScorer) -> dict[float, str]:
        """The primary guidance; on the report split also the swept ones. And what scores end in."""
        primary, split = self.trial.spec.guidance, split_suffix(scorer)
        sweep = self.trial.spec.sweep if scorer.reference == REFERENCE else ()
        swept = {guidance: f"{split}/g{guidance:g}" for guidance in sweep}
        return {primary: split} | {g: suffix for g, suffix in swept.items() if g != primary}

    def fill(self, scorer: SampleScorer) -> dict[str, float]:
        """Draw all samples of a split into the cache; the seconds of each guidance."""
        timing: dict[str, float] = {}
        for guidance, suffix in self.guidances(scorer).items():
            began = time.perf_counter()
            self.draw(scorer, guidance)
            timing[f"sample_s{suffix}"] = time.perf_counter() - began
        return timing

    def score_split(self, scorer: SampleScorer) -> SplitScores:
        """Score the samples of a split at each guidance."""
        metrics: dict[str, float] = {}
        timing: dict[str, float] = {}
        samples = None
        for guidance, suffix in self.guidances(scorer).items():
            images = self.draw(scorer, guidance)
            began = time.perf_counter()
            self.progress("score", 0.5, f"guidance {guidance:g}")
            if self.ranks.count > 1:
                scorer.keep(images, self._features(scorer, images))
            scores = scorer.score(images, scorer.labels)
            timing[f"score_s{suffix}"] = time.perf_counter() - began
            metrics |= {f"{name}{suffix}": value for name, value in scores.items()}
            if samples is None:
                samples = Samples(scorer, images, scorer.features(images)["1280"])
        assert samples is not None  # the primary guidance
        return SplitScores(samples, metrics, timing)


def split_suffix(scorer: SampleScorer) -> str:
    """What the names of a scorer's scores end in: nothing, or '/unseen'."""
    return "" if scorer.reference == REFERENCE else f"/{scorer.reference}"


def floor_scores(scorer: SampleScorer) -> dict[str, float]:
    """Scores of real images of a disjoint split, under the names of the samples' scores."""
    return {name + split_suffix(scorer): value for name, value in scorer.floor().items()}
