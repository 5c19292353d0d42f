"""Which claims further seeds could decide, and when a claim is stopped for futility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy import optimize, stats

from cabench.evidence.design import Design
from cabench.evidence.rules import RULES, Gain, Statements
from cabench.evidence.statistics import ALPHA
from cabench.records.schema import ManifestDesign

MOST = 100  # seeds; a larger number is not computed
LARGEST_EFFECT = 1000.0  # in standard deviations of a paired difference


def seeds_needed(test: str, gains: Sequence[Gain], design: Design, factor: float) -> int | None:
    """The seeds that would decide a claim if its differences kept their mean and spread.

    `factor` is what Holm's correction multiplies p by. None: more than `MOST`.
    """
    n = min(len(gain.values) for gain in gains)
    for count in range(n + 1, MOST + 1):
        if _at(test, gains, design, count).p * factor < ALPHA:
            return count
    return None


def smallest_effect(n: int, claims: int, design: Design) -> float | None:
    """The mean, in standard deviations of a difference, that decides one of `claims` on n seeds.

    None where no effect does.
    """

    def excess(effect: float) -> float:
        return 2 * claims * design.p_above_at(n, effect, 1.0) - ALPHA

    if n < 2 or excess(LARGEST_EFFECT) > 0:
        return None
    effect: Any = optimize.brentq(excess, 0.0, LARGEST_EFFECT)
    return float(effect)


def is_futile(
    test: str, gains: Sequence[Gain], design: Design, factor: float, rule: ManifestDesign
) -> bool:
    """Whether not even effects at the edge of what the data allow are shown by `most` seeds.

    The edges are one-sided t bounds of the means with the confidence `futility`. The rule only
    stops claims, so it cannot raise the error of the tests.
    """
    n = min(len(gain.values) for gain in gains)
    t = float(stats.t.ppf(rule.futility, n - 1))
    edges = [gain.sd * t / math.sqrt(n) for gain in gains]
    best = [gain.mean + edge for gain, edge in zip(gains, edges, strict=True)]
    worst = [gain.mean - edge for gain, edge in zip(gains, edges, strict=True)]
    least = [
        math.copysign(max(0.0, abs(gain.mean) - edge), gain.mean)
        for gain, edge in zip(gains, edges, strict=True)
    ]
    return all(
        _at(test, gains, design, rule.most, means).p * factor >= ALPHA
        for means in (best, worst, least)
    )


def _at(
    test: str,
    gains: Sequence[Gain],
    design: Design,
    n: int,
    means: Sequence[float] | None = None,
) -> Statements:
    """What n seeds would state with these means and the spreads of today."""
    known = means or [gain.mean for gain in gains]
    by_gain = {id(gain): mean for gain, mean in zip(gains, known, strict=True)}
    return RULES[test](
        gains,
        lambda gain, sign, bound: design.p_above_at(n, sign * by_gain[id(gain)], gain.sd, bound),
    )
