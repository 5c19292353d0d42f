"""What a claim's test states, given paired differences: better, within a margin, worse.

Every rule is an intersection-union test: a claim over several metrics or rivals needs all of them,
so its p value is the largest of theirs.
Source: Berger 1982, "Multiparameter hypothesis testing and acceptance sampling".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cabench.evidence.statistics import ALPHA, NAN, deviation

# "..., small": significant, and significantly within the margin of equivalence
Word = Literal[
    "supported",
    "supported, small",
    "contradicted",
    "contradicted, small",
    "equivalent",
    "unresolved",
    "by construction",
    "not tested",
]


@dataclass(frozen=True)
class Statements:
    """p values, one-sided, of the three statements that a test can make; NaN: it cannot make it."""

    supported: float
    contradicted: float
    equivalent: float = NAN

    @property
    def p(self) -> float:
        """The claim's p value, where it is the only one: each of two tests that can err has half.

        Whatever the truth, a false statement needs one of two false rejections, one per direction.
        """
        return min(1.0, 2 * self.smallest)

    @property
    def smallest(self) -> float:
        return vars(self)[self.nearest]

    @property
    def nearest(self) -> str:
        """The statement with the smallest p value."""
        values = {name: p for name, p in vars(self).items() if not math.isnan(p)}
        return min(values, key=lambda name: values[name])

    @property
    def made(self) -> set[str]:
        """The statements that are significant, given adjusted p values."""
        return {name for name, p in vars(self).items() if p < ALPHA}

    @property
    def word(self) -> Word:
        """The verdict that the statements amount to, given adjusted p values."""
        small = "equivalent" in self.made
        if "supported" in self.made:
            return "supported, small" if small else "supported"
        if "contradicted" in self.made:
            return "contradicted, small" if small else "contradicted"
        return "equivalent" if small else "unresolved"


@dataclass(frozen=True)
class Gain:
    """Paired differences in one metric, against one rival; positive where the claim holds."""

    values: pd.Series
    margin: float  # of equivalence; NaN: none is stated

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def sd(self) -> float:
        return deviation(self.values)


PAbove = Callable[[Gain, int, float], float]  # gain, sign, bound: p of "sign x mean <= bound"
Rule = Callable[[Sequence[Gain], PAbove], Statements]


def superiority(gains: Sequence[Gain], p: PAbove) -> Statements:
    """Better in every metric; contradicted: worse in every metric; equivalent: within margins."""
    up, down = (max(p(gain, sign, 0.0) for gain in gains) for sign in (1, -1))
    return Statements(up, down, _within(gains, p))


def non_inferiority(gains: Sequence[Gain], p: PAbove) -> Statements:
    """Worse by less than the margin in every metric; contradicted: by more than it in every one."""
    up = max(p(gain, 1, -gain.margin) for gain in gains)
    return Statements(up, max(p(gain, -1, gain.margin) for gain in gains))


def equivalence(gains: Sequence[Gain], p: PAbove) -> Statements:
    """Within the margin in every metric (two one-sided tests); contradicted: outside in one.

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power
    approach"; the contradiction is corrected over metrics and sides (Bonferroni).
    """
    outside = min(p(gain, sign, gain.margin) for gain in gains for sign in (1, -1))
    return Statements(_within(gains, p), min(1.0, 2 * len(gains) * outside))


def _within(gains: Sequence[Gain], p: PAbove) -> float:
    if any(math.isnan(gain.margin) for gain in gains):
        return NAN
    return max(p(gain, sign, -gain.margin) for gain in gains for sign in (1, -1))


RULES: dict[str, Rule] = {
    "superiority": superiority,
    "non_inferiority": non_inferiority,
    "equivalence": equivalence,
    "difference_of_differences": superiority,
}
DIRECTED = ("superiority", "difference_of_differences")  # tests of claims that state a direction
NEED_MARGINS = ("non_inferiority", "equivalence")
