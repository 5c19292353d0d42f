"""Statistics of few seeds: Student-t intervals, differences paired by seed, Holm's correction.

Student-t intervals are used because a percentile bootstrap of 3 values covers only 72 % at a
nominal 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # coverage of every interval
ALPHA = 0.05  # significance level of every verdict, after Holm
NAN = float("nan")
DIGITS = 12  # of the largest score: what differs beyond them is rounding


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval."""

    mean: float
    # fmt: off
    low: float                # NaN when n < 2
    high: float
    n: int                    # seeds
    p: float = NAN            # two-sided, of mean = 0; NaN where it was not or can't be tested
    values: pd.Series = field(default_factory=lambda: pd.Series(dtype=float), compare=False)
    # fmt: on

    @property
    def half(self) -> float:
        """Half the interval's width; NaN when n < 2."""
        return (self.high - self.low) / 2

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low)

    @property
    def is_tested(self) -> bool:
        return not math.isnan(self.p)

    def scaled(self, scale: float) -> Estimate:
        """The same estimate in other units; p is unchanged."""
        return replace(
            self,
            mean=self.mean * scale,
            low=self.low * scale,
            high=self.high * scale,
            values=self.values * scale,
        )


NOTHING = Estimate(NAN, NAN, NAN, 0)


def mean_interval(values: Sequence[float] | pd.Series, level: float = LEVEL) -> Estimate:
    """The mean and its Student-t interval; values that are not finite are left out.

    mean ± t((1 + level) / 2; n - 1) s / sqrt(n), where s is the sample standard deviation.
    Source: Student 1908, "The probable error of a mean".
    """
    series = pd.Series(values, dtype=float)
    finite = np.isfinite(series.to_numpy())
    series = series if finite.all() else pd.Series(series[finite])
    n = len(series)
    if n == 0:
        return replace(NOTHING, values=series)
    mean = float(series.mean())
    if n == 1:
        return Estimate(mean, NAN, NAN, 1, values=series)
    half = _t_quantile((1 + level) / 2, n - 1) * deviation(series) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, values=series)


@lru_cache
def _t_quantile(p: float, df: int) -> float:
    return float(stats.t.ppf(p, df))


def deviation(values: pd.Series) -> float:
    """The sample standard deviation, with n - 1 in the variance's denominator."""
    return float(values.std(ddof=1))  # pyright: ignore[reportArgumentType]


def paired_difference(ours: pd.Series, base: pd.Series, level: float = LEVEL) -> Estimate:
    """Mean of `ours - base` over the seeds that both have, its t interval and paired t test.

    The test is two-sided: p = 2 P(T > |mean| / (s / sqrt(n))), T with n - 1 degrees of freedom.
    Differences without spread: all zero gives p = 1. A constant other than zero gives p = NaN,
    because a metric that is quantised, or a seed without effect, leaves nothing to test against.
    """
    if not ours.index.equals(base.index):
        seeds = [seed for seed in ours.index if seed in base.index]
        ours, base = pd.Series(ours.loc[seeds]), pd.Series(base.loc[seeds])
    estimate = mean_interval(_without_rounding(ours, base), level)
    if estimate.n < 2:
        return estimate
    error = deviation(estimate.values) / math.sqrt(estimate.n)
    if not np.ptp(estimate.values):
        p = 1.0 if not estimate.mean else NAN
        return replace(estimate, low=estimate.mean, high=estimate.mean, p=p)
    p = float(2 * stats.t.sf(abs(estimate.mean) / error, estimate.n - 1))
    return replace(estimate, p=p)


def _without_rounding(ours: pd.Series, base: pd.Series) -> pd.Series:
    """ours - base without the digits that only rounding of the scores leaves."""
    largest = max(np.abs(ours.to_numpy()).max(initial=0), np.abs(base.to_numpy()).max(initial=0))
    difference = ours - base
    if not (math.isfinite(largest) and largest):
        return difference
    return difference.round(DIGITS - math.floor(math.log10(largest)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values; a NaN stays NaN and does not count as a test.

    With the m p values in ascending order, the adjusted i-th is the largest of
    (m - j + 1) p_j over j <= i, at most 1.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = [NAN] * len(ps)
    tested = sorted((i for i, p in enumerate(ps) if not math.isnan(p)), key=lambda i: ps[i])
    largest = 0.0
    for rank, i in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def holm_by_family(ps: Sequence[float], in_second: Sequence[bool]) -> list[float]:
    """Holm's adjusted p values within each of two families."""
    families = [
        holm([p if second is family else NAN for p, second in zip(ps, in_second, strict=True)])
        for family in (False, True)
    ]
    return [families[second][i] for i, second in enumerate(in_second)]
