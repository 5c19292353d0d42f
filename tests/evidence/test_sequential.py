"""The e-process against numerical integration, its error under optional stopping, its limits."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from cabench.evidence.sequential import G, e_process, interval, p_value


def integrated(d, g=G):
    """The same Bayes factor from densities of t: noncentral over central, under the prior."""
    n = len(d)
    t = np.mean(d) / np.std(d, ddof=1) * math.sqrt(n)
    prior = stats.halfnorm(scale=math.sqrt(g))

    def density(effect):
        # SciPy 1.14 has nan where the density is 0
        return prior.pdf(effect) * np.nan_to_num(stats.nct.pdf(t, n - 1, effect * math.sqrt(n)))

    value, _ = integrate.quad(density, 0, 12 * math.sqrt(g), limit=400)
    return value / stats.t.pdf(t, n - 1)


@pytest.mark.parametrize(
    "d", [[0.3, 1.1], [0.2, -0.5, 0.9], [1.0, 1.4, 0.7, 1.2], [-0.4, -0.1, -0.3]]
)
@pytest.mark.parametrize("g", [1.0, G])
def test_it_is_the_bayes_factor_of_its_priors(d, g):
    assert e_process(d, g)[-1] == pytest.approx(integrated(d, g), rel=1e-4)


def test_the_first_difference_gives_its_sign_only():
    up, down = e_process([0.01])[0], e_process([-500.0])[0]
    assert up + down == pytest.approx(2)  # the mean over both signs is 1
    assert up == pytest.approx(2 * stats.t.cdf(3, 1))


def test_units_and_zeros_change_nothing():
    d = np.array([0.3, -0.1, 0.8, 0.5])
    assert e_process(d * 1e-6) == pytest.approx(e_process(d))
    assert e_process([0.0, 0.0]).tolist() == [1, 1]


@pytest.mark.parametrize(("n", "largest"), [(3, 28), (4, 37**1.5)])
def test_the_largest_value_at_few_seeds(n, largest):
    """(1 + n g)^((n - 1) / 2) for both directions: four claims cannot be resolved at 3 seeds."""
    agreeing = 1 + 1e-9 * np.arange(n)
    assert 1 / p_value(agreeing) == pytest.approx(largest, rel=1e-2)


def looks(draw, studies=1500, seeds=12, alpha=0.05):
    """The share of studies without an effect that some look from 2 seeds on rejects."""
    rng = np.random.default_rng(0)
    wrong = 0
    for d in draw(rng, (studies, seeds)):
        wrong += p_value(d) <= alpha
    return wrong / studies


def test_looking_after_every_seed_keeps_the_level():
    assert looks(lambda rng, size: rng.normal(size=size)) < 0.05
    fixed = 0
    for d in np.random.default_rng(0).normal(size=(500, 12)):
        fixed += any(stats.ttest_1samp(d[:n], 0).pvalue < 0.05 for n in range(3, 13))
    assert fixed / 500 > 0.12  # today's test, looked at from 3 seeds on


def test_an_effect_is_found():
    rng = np.random.default_rng(1)
    resolved = [p_value(d) <= 0.05 for d in rng.normal(2.0, 1.0, (500, 8))]
    assert np.mean(resolved) > 0.8


def test_the_interval_holds_what_is_not_rejected():
    d = [0.9, 1.3, 0.7, 1.1, 1.0]
    low, high = interval(d)
    assert 0 < low < np.mean(d) < high
    for edge, sign in ((low, 1), (high, -1)):
        inside, outside = (np.array(d) - edge * (1 + k * sign * 1e-6) for k in (1, -1))
        assert p_value(inside) > 0.05 >= p_value(outside) - 1e-12
    assert p_value(d) <= 0.05


def test_the_interval_shifts_and_scales_with_the_differences():
    d = np.array([0.2, -0.4, 0.3, 0.1])
    assert np.array(interval(5 + 3 * d)) == pytest.approx(5 + 3 * np.array(interval(d)), rel=1e-6)


def test_too_few_differences_leave_it_open():
    assert interval([]) == interval([1.0]) == interval([1.0, 1.1]) == (-math.inf, math.inf)
    assert all(map(math.isfinite, interval([1.0, 1.1, 0.9])))


def test_the_interval_covers_the_mean_at_all_looks():
    rng = np.random.default_rng(2)
    covered = [
        all(low <= 0.3 <= high for low, high in (interval(d[:n]) for n in (3, 5, 8)))
        for d in rng.normal(0.3, 1, (150, 8))
    ]
    assert np.mean(covered) >= 0.95


def test_after_a_drift_the_interval_holds_the_mean():
    """The intersection of the limits of all looks would be [+.0112, +.0161] here."""
    d = [0.0140, 0.0135, 0.0140, 0.0090, 0.0005, 0.0120]
    low, high = interval(d)
    assert low < np.mean(d) < high and p_value(d) < 0.05
