"""What a claim costs to resolve: seeds for a stated power, and the time of their trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA, deviation
from cabench.evidence.stopping import MOST
from cabench.evidence.verdicts import Evidence, Verdict

POWER = 0.8
SHARE = 0.05  # the difference to be shown, as a share of the baseline's score


@dataclass(frozen=True)
class EvidenceCost:
    """The cost of showing, for one claim, a difference of `SHARE` in the primary metric.

    The spread is that of the claim's paired differences so far, so it is itself uncertain with few
    seeds.
    """

    # fmt: off
    claim: str
    n: int                  # seeds that the spread comes from
    sd: float               # of the paired differences, in stored units
    effect: float           # the difference to be shown, in stored units
    seeds: int | None       # None: more than `MOST`
    minutes: float | None   # that trials of the claim's arms take on these seeds
    # fmt: on


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
    """An entry per tested claim about the primary metric, in the order of the verdicts.

    The seeds are those of a design that fixes their number beforehand, at the level of the first
    step of Holm's correction. A design that looks in between needs more when the difference is
    small, and fewer when it is large.
    """
    return [
        _cost(verdict, part, results)
        for verdict in results.verdicts
        if verdict.is_tested and (part := _widest(verdict, results.primary.name)) and _spread(part)
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
    times = [
        [record.timing.get("trial_s", 0.0) for record in results.complete(arm)]
        for arm in dict.fromkeys(verdict.claim.arms)
    ]
    minutes = sum(sum(of_arm) / len(of_arm) for of_arm in times) / 60
    return EvidenceCost(
        verdict.claim.id, part.n, sd, effect, seeds, None if seeds is None else seeds * minutes
    )
