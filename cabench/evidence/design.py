"""How a run's seeds were chosen, and the tests and intervals that this allows.

A fixed design chooses its seeds before any of them is seen: Student's t. In a sequential design
one looks and adds seeds: the anytime-valid tests of `sequential`, which hold for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats

from cabench.evidence.sequential import G, e_value, interval, largest_e, p_value
from cabench.evidence.statistics import (
    LEVEL,
    NAN,
    Estimate,
    deviation,
    mean_interval,
    paired_difference,
)
from cabench.records.schema import Manifest


@dataclass(frozen=True)
class Design:
    """The design of a run's seeds. Differences are in the order in which seeds were added."""

    # fmt: off
    sequential: bool = False
    g: float = G                  # prior variance of the effect size
    margins: Mapping[str, float] = field(default_factory=dict)  # of equivalence, in stored units
    # fmt: on

    @classmethod
    def of(cls, manifest: Manifest) -> Design:
        return cls(manifest.design.sequential, manifest.design.g, manifest.margins)

    def level(self, values: pd.Series) -> Estimate:
        """An arm's mean: with its t interval, or in a sequential design its standard deviation."""
        estimate = mean_interval(values)
        if not self.sequential or estimate.n < 2:
            return estimate
        sd = deviation(estimate.values)
        return replace(estimate, low=estimate.mean - sd, high=estimate.mean + sd)

    def difference(self, ours: pd.Series, base: pd.Series) -> Estimate:
        """Mean of `ours - base` over the seeds that both have, with interval and two-sided p.

        The interval covers with a probability of 95 %: a t interval, or a confidence sequence,
        which does so at all looks at once. Few seeds give it no finite limits: then there is none.
        """
        estimate = paired_difference(ours, base)
        values = estimate.values.to_numpy(dtype=float)
        if not self.sequential or estimate.n < 2 or not np.ptp(values):
            return estimate
        return replace(self._with_interval(estimate, LEVEL), p=p_value(values, self.g))

    def jointly(self, difference: Estimate, tests: int) -> Estimate:
        """A paired difference with the interval of one of `tests` differences.

        All of them cover at once with a probability of 95 % (Bonferroni), so the interval of the
        best one does, too, though it was chosen by its score. Few seeds give no finite limits.
        """
        if difference.n < 2 or not np.ptp(difference.values):
            return difference
        return self._with_interval(difference, 1 - (1 - LEVEL) / max(1, tests))

    def _with_interval(self, estimate: Estimate, level: float) -> Estimate:
        if not self.sequential:
            limits = mean_interval(estimate.values, level)
            return replace(estimate, low=limits.low, high=limits.high)
        low, high = interval(estimate.values.to_numpy(dtype=float), level, self.g)
        if not (math.isfinite(low) and math.isfinite(high)):
            low = high = NAN
        return replace(estimate, low=low, high=high)

    def p_above(self, values: pd.Series, bound: float = 0.0) -> float:
        """The one-sided p value of: the mean is at most `bound`. 1 for values without a spread."""
        d = values.to_numpy(dtype=float)
        if len(d) < 2 or not np.ptp(d):
            return 1.0
        if self.sequential:
            return min(1.0, 1 / largest_e(d, bound, self.g))
        d = d - bound
        return float(stats.t.sf(d.mean() / (np.std(d, ddof=1) / math.sqrt(len(d))), len(d) - 1))

    def p_above_at(self, n: int, mean: float, sd: float, bound: float = 0.0) -> float:
        """`p_above` of n values with this mean and standard deviation."""
        if sd == 0:
            return 1.0
        if self.sequential:
            squares = n * (mean - bound) ** 2 + (n - 1) * sd**2
            return min(1.0, 1 / e_value(n, mean - bound, squares, self.g))
        return float(stats.t.sf((mean - bound) / (sd / math.sqrt(n)), n - 1))
