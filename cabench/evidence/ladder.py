"""One study at several scales (rungs): how an effect changes with the training MACs.

Differences of a score shrink with training by themselves, so effects are in its logarithm, or as a
compute multiplier: how many times an arm's training MACs the baseline needs for the arm's score.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cabench.errors import CabenchError
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.statistics import NOTHING, Estimate
from cabench.records.schema import Record

FORWARD_PASSES = 3  # a training step counts as three forward passes
MOST_SPLITS = 200


@dataclass(frozen=True)
class Rung:
    """A scale of the ladder and its results."""

    results: Results

    @property
    def scale(self) -> str:
        return self.results.manifest.scale

    def macs(self, arm: str) -> float:
        """Training MACs of a trial of the arm; NaN where none is complete."""
        return next((training_macs(record) for record in self.results.complete(arm)), math.nan)

    def log_score(self, arm: str) -> pd.Series:
        """The logarithm of the arm's primary metric, by seed.

        CabenchError where a score is not positive, or higher ones are better.
        """
        metric = self.results.primary
        values = self.results.by_seed(arm, metric.name)
        if metric.higher_is_better or (values <= 0).any():
            raise CabenchError(
                f"ladder: '{metric.name}' of '{arm}' at scale '{self.scale}': expected positive "
                "scores of which lower ones are better, since effects are in their logarithm"
            )
        return values.map(math.log)

    def effect(self, arm: str) -> Estimate:
        """The paired difference to the baseline in the logarithm of the primary metric."""
        baseline = self.results.manifest.baseline
        if arm == baseline:
            return NOTHING
        design = Design.of(self.results.manifest)
        return design.difference(self.log_score(arm), self.log_score(baseline))

    def order(self) -> dict[str, float]:
        """The mean score of each arm that has one, lower bounds left out."""
        means = {
            arm: self.results.by_seed(arm, self.results.primary.name).mean()
            for arm in self.results.contenders
        }
        return {arm: float(mean) for arm, mean in means.items() if not math.isnan(mean)}


def training_macs(record: Record) -> float:
    """Multiply-accumulates of a trial's training: three forward passes per image."""
    if record.cost is None:
        return math.nan
    return float(FORWARD_PASSES * record.cost.macs.total * record.spec.images)


@dataclass(frozen=True)
class Ladder:
    """The rungs, by rising training MACs of the baseline."""

    rungs: tuple[Rung, ...]

    @classmethod
    def of(cls, runs: Sequence[Results]) -> Ladder:
        """CabenchError where the runs are not one study at different scales."""
        first = runs[0].manifest
        for other in (results.manifest for results in runs[1:]):
            for key in ("study", "baseline", "primary"):
                ours, theirs = getattr(first, key), getattr(other, key)
                if ours != theirs:
                    text = f"expected one {key} on all rungs, got '{ours}' and '{theirs}'"
                    raise CabenchError(f"ladder: {text}")
        rungs = [Rung(results) for results in runs]
        for rung in rungs:
            if math.isnan(rung.macs(first.baseline)):
                raise CabenchError(
                    f"ladder: '{first.baseline}' has no complete trial at scale '{rung.scale}'"
                )
        return cls(tuple(sorted(rungs, key=lambda rung: rung.macs(first.baseline))))

    @property
    def baseline(self) -> str:
        return self.rungs[0].results.manifest.baseline

    @property
    def top(self) -> Rung:
        return self.rungs[-1]

    @property
    def arms(self) -> list[str]:
        """The arms that run on every rung, lower bounds left out, in the study's order."""
        runs = [set(rung.order()) for rung in self.rungs]
        return [arm for arm in self.top.results.contenders if all(arm in run for run in runs)]

    def multiplier(self, arm: str, rung: Rung) -> Estimate:
        """How many times the arm's training MACs the baseline needs for the arm's score.

        Read off the baseline's own curve, which is linear in log score over log MACs between rungs,
        seed by seed; the interval is that of the logarithm. n = 0 where a score lies beyond the
        measured range: nothing is extrapolated.
        """
        ours = rung.log_score(arm)
        curves = [other.log_score(self.baseline).to_dict() for other in self.rungs]
        macs = [math.log(other.macs(self.baseline)) for other in self.rungs]
        values = {}
        for seed, score in ours.items():
            if any(seed not in curve for curve in curves):
                continue
            reached = crossing(macs, [curve[seed] for curve in curves], float(score))
            if reached is None:
                return NOTHING
            values[seed] = reached - math.log(rung.macs(arm))
        logs = pd.Series(values, dtype=float)
        estimate = Design.of(rung.results.manifest).difference(logs, logs * 0.0)
        if not estimate.n:
            return NOTHING
        low, mean, high = (math.exp(v) for v in (estimate.low, estimate.mean, estimate.high))
        return Estimate(mean, low, high, estimate.n, estimate.p, logs.map(math.exp))

    def decision_accuracy(self, rung: Rung) -> float:
        """The share of pairs of arms whose order at the rung is that at the top."""
        return agreement(rung.order(), self.top.order(), self.arms)

    def repeatability(self) -> float:
        """The mean agreement between two halves of the top rung's seeds; NaN below 2 seeds."""
        metric = self.top.results.primary.name
        scores = {arm: self.top.results.by_seed(arm, metric) for arm in self.arms}
        seeds = sorted(set.intersection(*(set(s.index) for s in scores.values())))
        shares = [
            agreement(_means(scores, one), _means(scores, other), self.arms)
            for one, other in _halves(seeds)
        ]
        return float(np.mean(shares)) if shares else math.nan


def crossing(x: Sequence[float], y: Sequence[float], level: float) -> float | None:
    """The first x at which the line through the points reaches `level`; None where it does not."""
    for (x0, y0), (x1, y1) in itertools.pairwise(zip(x, y, strict=True)):
        if min(y0, y1) <= level <= max(y0, y1):
            return x0 if y0 == y1 else x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None


def agreement(ours: Mapping[str, float], theirs: Mapping[str, float], arms: Sequence[str]) -> float:
    """The share of pairs of arms that have the same order in both; NaN below two arms."""
    pairs = list(itertools.combinations(arms, 2))
    same = [(ours[a] < ours[b]) == (theirs[a] < theirs[b]) for a, b in pairs]
    return float(np.mean(same)) if same else math.nan


def _means(scores: Mapping[str, pd.Series], seeds: Sequence[int]) -> dict[str, float]:
    return {arm: float(values.loc[list(seeds)].mean()) for arm, values in scores.items()}


def _halves(seeds: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Disjoint halves of the seeds; of an odd number, one seed is left out in turn."""
    size = len(seeds) // 2
    splits = (
        (list(one), list(other))
        for one in itertools.combinations(seeds, size)
        for other in itertools.combinations([s for s in seeds if s not in one], size)
        if one < other
    )
    return itertools.islice(splits, MOST_SPLITS) if size else iter(())
