"""The order of a study's arms: ranks with intervals, and how likely one arm beats another."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA, NAN, deviation, holm


@dataclass(frozen=True)
class Rank:
    """An arm's place by its mean over seeds, 1 for the best, with a simultaneous 95 % interval."""

    arm: str
    place: int
    best: int
    worst: int


@dataclass(frozen=True)
class Ranking:
    """The arms of a study that have scores, lower bounds left out, compared in pairs."""

    results: Results
    metric: str

    @cached_property
    def arms(self) -> list[str]:
        """The arms, in the study's order."""
        return [arm for arm in self.results.contenders if len(self.scores(arm))]

    def scores(self, arm: str) -> pd.Series:
        """The arm's scores by seed, in stored units."""
        return self.results.by_seed(arm, self.metric)

    @property
    def sign(self) -> int:
        """1 where higher scores are better, else -1."""
        return 1 if self.results.metrics[self.metric].higher_is_better else -1

    @cached_property
    def ranks(self) -> list[Rank]:
        """A rank per arm, in the study's order.

        Each pair of arms is tested on the seeds that both have, with Holm's correction over all
        pairs. An arm's rank lies between 1 + the arms that are significantly better and the number
        of arms minus those that are significantly worse. The intervals hold together at 95 %.
        Source: Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for ranks with applications to
        mobility across neighbourhoods and academic achievement across countries".
        """
        means = {arm: self.sign * float(self.scores(arm).mean()) for arm in self.arms}
        better, worse = dict.fromkeys(self.arms, 0), dict.fromkeys(self.arms, 0)
        for winner, loser in self._decided():
            better[loser] += 1
            worse[winner] += 1
        count = len(self.arms)
        return [
            Rank(
                arm,
                1 + sum(mean > means[arm] for mean in means.values()),
                1 + better[arm],
                count - worse[arm],
            )
            for arm in self.arms
        ]

    def _decided(self) -> list[tuple[str, str]]:
        """Pairs (better, worse) of arms whose difference is significant.

        Arms with a failed seed are not tested, since the seeds left may be their better ones.
        """
        design = Design.of(self.results.manifest)
        tested = [arm for arm in self.arms if not self.results.progress(arm).failed]
        pairs = list(itertools.combinations(tested, 2))
        effects = [design.difference(self.scores(a), self.scores(b)) for a, b in pairs]
        adjusted = holm([effect.p for effect in effects])
        return [
            pair if self.sign * effect.mean > 0 else (pair[1], pair[0])
            for pair, effect, p in zip(pairs, effects, adjusted, strict=True)
            if p < ALPHA
        ]

    def probability(self, arm: str, other: str) -> float:
        """The probability that `arm` scores better than `other` on a further seed of both.

        See `chance_of_gain`; NaN where they share fewer than two seeds.
        """
        gains = self.sign * (self.scores(arm) - self.scores(other)).dropna()
        return chance_of_gain(gains)


def chance_of_gain(gains: pd.Series) -> float:
    """The probability that a further value is positive, given values that share a normal law.

    P(T < mean / (s sqrt(1 + 1 / n))), T with n - 1 degrees of freedom: Student's predictive
    distribution under the reference prior. NaN for fewer than two values; without a spread, 1, 0
    or, at zero, one half.
    Source: Geisser 1993, "Predictive Inference", section 3.
    """
    n = len(gains)
    if n < 2:
        return NAN
    mean = float(gains.mean())
    if not np.ptp(gains.to_numpy()):
        return (float(np.sign(mean)) + 1) / 2
    error = deviation(gains) * math.sqrt(1 + 1 / n)
    return float(stats.t.cdf(mean / error, n - 1))
