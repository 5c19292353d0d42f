"""Tests of paired differences that stay valid when one looks after every seed.

A fixed test at each look inflates the error: looked at from 3 to 10 seeds, a 5 % t test rejects a
true null in some 18 % of studies. The e-process below is a nonnegative supermartingale of
expectation 1 under the null, so that by Ville's inequality its maximum over all looks exceeds
1 / alpha with a probability of alpha at most, whatever made one stop.

The differences d_1, d_2, ... are taken as N(mu, sigma^2). The process is the Bayes factor of the
effect size mu / sigma against 0, with the right-Haar prior 1 / sigma and a half-normal prior of
variance G on the effect size in one direction. It depends on d / |d_1| alone, and is valid in that
reduced filtration.

Sources: Perez-Ortiz, Lardy, de Heide, Gruenwald 2024, "E-statistics, group invariance and
anytime-valid testing" (arXiv 2208.07610), section 3; Wang and Ramdas 2025, "Anytime-valid t-tests
and confidence sequences for Gaussian means with unknown variance" (arXiv 2310.03722); Ville 1939.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import stdtr

G = 9.0  # variance of the effect size under the alternative; fixed before any seed of a claim
Differences = Sequence[float] | np.ndarray  # in the order in which they were seen
LARGEST = 1e12  # distance of the mean, in spreads of the data, that counts as infinite


def e_process(differences: Differences, g: float = G) -> np.ndarray:
    """e values against mu <= 0 after each difference (..., n): 1 where nothing is known yet.

    With S = sum d^2, m = mean of d and Q = S - n^2 g m^2 / (1 + n g), the two-sided Bayes factor is
    (1 + n g)^(-1/2) (S / Q)^(n / 2), and the posterior of mu is a t distribution with n degrees of
    freedom, centre n g m / (1 + n g) and squared scale g Q / (n (1 + n g)). The half-normal prior
    turns the factor into twice itself times the posterior probability of mu > 0.

    Differences that are all zero say nothing (1). Against mu >= 0, pass the negative differences.
    """
    d = np.asarray(differences, dtype=float)
    n = np.arange(1, d.shape[-1] + 1)
    return _e_values(n, np.cumsum(d, axis=-1) / n, np.cumsum(d**2, axis=-1), g)


def e_value(n: int, mean: float, squares: float, g: float = G) -> float:
    """The e value against mu <= 0 after n differences with this mean and sum of squares."""
    return float(_e_values(np.array([n]), np.array([mean]), np.array([squares]), g)[0])


def _e_values(n: np.ndarray, mean: np.ndarray, squares: np.ndarray, g: float) -> np.ndarray:
    shrunk = n * g / (1 + n * g)
    known = squares > 0
    rest = np.where(known, squares - n * shrunk * mean**2, 1.0)  # Q
    # Exact arithmetic gives Q >= S / (1 + n g)
    rest = np.maximum(rest, np.where(known, squares, 1.0) / (1 + n * g))
    ratio = np.where(known, squares, 1.0) / rest
    both = (n * np.log(ratio) - np.log1p(n * g)) / 2
    positive = _t_logcdf(shrunk * mean / np.sqrt(g * rest / (n * (1 + n * g))), n)
    return np.where(known, np.exp(both + math.log(2) + positive), 1.0)


def _t_logcdf(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """log P(T <= x) for T with n degrees of freedom: the bits of scipy.stats.t in less time."""
    n = n.astype(float)
    with np.errstate(divide="ignore"):
        return np.where(x < 0, np.log(stdtr(n, x)), np.log1p(-stdtr(n, -x)))


def p_value(differences: Differences, g: float = G) -> float:
    """The anytime-valid two-sided p value of mu = 0: each direction has half of the level.

    min(1, 2 / the largest e value so far in either direction).
    """
    d = np.asarray(differences, dtype=float)
    if len(d) == 0:
        return 1.0
    return min(1.0, 2 / max(largest_e(d, 0.0, g), largest_e(-d, 0.0, g)))


def largest_e(differences: Differences, mean: float = 0.0, g: float = G) -> float:
    """The largest e value so far against mu <= `mean`.

    Looks at differences that are all equal are left out: their spread is unknown.
    """
    d = np.asarray(differences, dtype=float)
    known = np.flatnonzero(d != d[0])
    return float(e_process(d - mean, g)[known[0] :].max()) if len(known) else 1.0


def interval(differences: Differences, level: float = 0.95, g: float = G) -> tuple[float, float]:
    """The confidence sequence for mu at this look: the values that these differences do not reject.

    It covers mu at all looks at once with a probability of at least `level`. A limit that the data
    cannot give yet is infinite: with G = 9 below 3 differences at 95 %. The limits of several looks
    could be intersected; where differences drift that leaves the mean outside, so it is not done.
    A p value rests on the largest e value so far, so after a drift it can be small beside an
    interval that holds zero.
    """
    return _interval(tuple(map(float, differences)), level, g)


@lru_cache(maxsize=4096)  # tables and figures ask for the same differences
def _interval(differences: tuple[float, ...], level: float, g: float) -> tuple[float, float]:
    d = np.array(differences)
    low = _lower_limit(d, (1 - level) / 2, g)
    return low, -_lower_limit(-d, (1 - level) / 2, g)


def _lower_limit(d: np.ndarray, alpha: float, g: float) -> float:
    """The largest m such that mu <= m is rejected at `alpha` by all differences so far."""
    if len(d) == 0:
        return -math.inf
    unit, n = float(np.ptp(d)) or max(abs(float(d[0])), 1.0), np.array([len(d)])

    def excess(shift: float) -> float:
        rest = d - (d.min() - shift * unit)
        last = np.cumsum(rest)[-1:] / n, np.cumsum(rest**2)[-1:]
        return math.log(float(_e_values(n, *last, g)[0]) * alpha)

    # e falls as the tested mean rises, to below 1 at the largest difference
    top = -(float(np.ptp(d)) / unit)
    if excess(LARGEST) < 0:
        return -math.inf
    high = 1.0
    while excess(high) < 0:
        high *= 2
    shift: Any = optimize.brentq(excess, top, high, xtol=1e-9)
    return float(d.min() - shift * unit)
