"""What it costs to show a difference of a stated size: seeds, and the time of their trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy import stats

from cabench.evidence.results import Results
from cabench.evidence.rules import DIRECTED
from cabench.evidence.statistics import ALPHA, deviation
from cabench.evidence.stopping import MOST
from cabench.evidence.verdicts import Evidence, Verdict

POWER = 0.8
SHARE = 0.05  # the difference to be shown, as a share of the baseline's score
PARTS = ("train_s", "sample_s", "score_s", "reference_s")  # of a trial's time


@dataclass(frozen=True)
class EvidenceCost:
    """The cost of showing a difference of `SHARE` in the primary metric, between a claim's arms.

    A claim over several metrics needs more. The spread is that of the claim's paired differences so
    far, so it is itself uncertain with few seeds.
    """

    # fmt: off
    claim: str
    n: int                  # seeds that the spread comes from
    sd: float               # of the paired differences, in stored units
    effect: float           # the difference to be shown, in stored units
    seeds: int | None       # None: more than `MOST`
    minutes: float | None   # of one worker, for the claim's arms on these seeds, without compiling
    # fmt: on


@lru_cache  # table, CSV, report and page ask for the same ones
def seeds_for_power(effect: float, alpha: float, power: float = POWER) -> int | None:
    """The fewest seeds with which a two-sided paired t test shows `effect` with this power.

    `effect` is in standard deviations of a difference. None: more than `MOST`.
    """
    for n in range(2, MOST + 1):
        limit = float(stats.t.isf(alpha / 2, n - 1))
        if stats.nct.sf(limit, n - 1, effect * math.sqrt(n)) >= power:
            return n
    return None


def costs_of_evidence(results: Results) -> list[EvidenceCost]:
    """An entry per tested claim that an arm has a better primary score, in the verdicts' order.

    The seeds are those of a design that fixes their number beforehand, at the level of the first
    step of Holm's correction. A design that looks in between needs more.
    """
    return [
        _cost(verdict, part, results)
        for verdict in results.verdicts
        if verdict.is_tested
        and verdict.claim.test in DIRECTED
        and (part := _widest(verdict, results.primary.name))
        and _spread(part)
    ]


def _widest(verdict: Verdict, metric: str) -> Evidence | None:
    """The part of the evidence in `metric` with the largest spread, which decides."""
    parts = [part for part in verdict.evidence if part.metric == metric and part.difference]
    return max(parts, key=_spread, default=None)


def _spread(part: Evidence) -> float:
    return deviation(part.difference.values) if part.difference else 0.0


def _cost(verdict: Verdict, part: Evidence, results: Results) -> EvidenceCost:
    sd = _spread(part)
    baseline = results.by_seed(results.manifest.baseline, part.metric).mean()
    effect = SHARE * abs(float(baseline))
    seeds = seeds_for_power(effect / sd, ALPHA / verdict.tests)
    minutes = sum(seconds_of(results, arm) for arm in dict.fromkeys(verdict.claim.arms)) / 60
    return EvidenceCost(
        verdict.claim.id, part.n, sd, effect, seeds, None if seeds is None else seeds * minutes
    )


def seconds_of(results: Results, arm: str) -> float:
    """The mean time of an arm's trials: training, also where another run did it, and scores."""
    of_trials = [
        sum(t for name, t in record.timing.items() if name.partition("/")[0] in PARTS)
        for record in results.complete(arm)
    ]
    return sum(of_trials) / len(of_trials)
