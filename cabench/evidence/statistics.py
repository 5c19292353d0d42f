"""Few seeds: Student-t intervals (a percentile bootstrap of 3 covers 72 %), pairing, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cabench.evidence.frame import added_arms, by_seed, is_bound, study_arms, tidy

LEVEL = 0.95  # of every interval
ALPHA = 0.05  # of every verdict, after Holm
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
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
        """Half the interval's width."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float] | pd.Series, level: float = LEVEL) -> Estimate:
    """Mean and Student-t interval, n - 1 degrees of freedom; non-finite values are left out."""
    values = pd.Series(values, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n == 0:
        return Estimate(NAN, NAN, NAN, 0, values=values)
    mean = float(values.mean())
    if n == 1:
        return Estimate(mean, NAN, NAN, 1, values=values)
    half = stats.t.ppf((1 + level) / 2, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, values=values)


def paired_difference(ours: pd.Series, base: pd.Series, level: float = LEVEL) -> Estimate:
    """Mean of ours - base over the seeds both have, its t interval and two-sided p.

    Differences without any spread: all zero gives p = 1; a constant other than zero gives p = NaN,
    since a spread of exactly nothing (a quantised metric, a seed that does not act) tests nothing.
    """
    seeds = [s for s in ours.index if s in base.index]
    ours, base = ours.loc[seeds], base.loc[seeds]
    found = mean_interval(ours - base, level)
    if found.n < 2:
        return found
    error = float(found.values.std(ddof=1)) / math.sqrt(found.n)
    rounding = 1e-12 * float(max(ours.abs().max(), base.abs().max()))
    if error <= rounding:
        p = 1.0 if abs(found.mean) <= rounding else NAN
        return Estimate(found.mean, found.mean, found.mean, found.n, p, found.values)
    p = float(2 * stats.t.sf(abs(found.mean) / error, found.n - 1))
    return Estimate(found.mean, found.low, found.high, found.n, p, found.values)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values; a NaN stays NaN and does not count as a test.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = [NAN] * len(ps)
    tested = sorted((i for i, p in enumerate(ps) if p == p), key=lambda i: ps[i])
    worst = 0.0
    for rank, i in enumerate(tested):
        worst = max(worst, min(1.0, (len(tested) - rank) * ps[i]))
        adjusted[i] = worst
    return adjusted


def holm_apart(ps: Sequence[float], apart: Sequence[bool]) -> list[float]:
    """Holm over two families, told apart by `apart`."""
    families = [
        holm([p if a is side else NAN for p, a in zip(ps, apart, strict=True)])
        for side in (False, True)
    ]
    return [both[a] for both, a in zip(zip(*families, strict=True), apart, strict=True)]


def numbers(
    manifest: dict[str, Any],
    records: dict[str, dict[str, Any]],
    metrics: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A row per arm x metric: mean, interval, n; paired difference to the baseline and its p.

    Values as stored (not scaled). `p_holm` is adjusted over the arms, within a metric; those added
    on the command line are a family of their own, so that an idea changes none of the study's
    verdicts. The baseline and bound arms have no p: a bound is printed beside the contest.
    """
    frame = tidy(manifest, records)
    baseline, added = manifest["baseline"], added_arms(manifest)
    rows = []
    for metric in manifest["metrics"] if metrics is None else metrics:
        base = by_seed(frame, baseline, metric)
        block = []
        for arm in (entry["name"] for entry in study_arms(manifest)):
            role = "baseline" if arm == baseline else "bound" if is_bound(manifest, arm) else "arm"
            ours = by_seed(frame, arm, metric)
            level = mean_interval(ours)
            diff = paired_difference(ours, base) if role != "baseline" else mean_interval([])
            block.append(
                {
                    "arm": arm,
                    "role": role,
                    "metric": metric,
                    "n": level.n,
                    "mean": level.mean,
                    "low": level.low,
                    "high": level.high,
                    "pairs": diff.n,
                    "diff": diff.mean,
                    "diff_low": diff.low,
                    "diff_high": diff.high,
                    "p": diff.p if role == "arm" else NAN,
                }
            )
        adjusted = holm_apart([r["p"] for r in block], [r["arm"] in added for r in block])
        for row, p in zip(block, adjusted, strict=True):
            rows.append(row | {"p_holm": p})
    columns = "arm role metric n mean low high pairs diff diff_low diff_high p p_holm".split()
    return pd.DataFrame(rows, columns=columns)
