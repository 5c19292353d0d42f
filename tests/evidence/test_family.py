"""Adjusting the statements of a family of claims: Holm's method, and its extension to margins."""

import numpy as np
import pytest
from scipy import stats

from cabench.evidence.family import adjusted, open_tests
from cabench.evidence.rules import Statements
from cabench.evidence.statistics import holm

NAN = float("nan")


def test_without_margins_it_is_holms_method():
    rng = np.random.default_rng(0)
    for _ in range(200):
        up = rng.uniform(size=4) ** 3
        after = adjusted([Statements(p, 1 - p) for p in up])
        expected = holm([min(1.0, 2 * min(p, 1 - p)) for p in up])
        assert [one.smallest for one in after] == pytest.approx(expected)


def test_a_contrary_statement_is_ruled_out():
    (one,) = adjusted([Statements(0.001, 0.002, 0.9)])
    assert one.made == {"supported"} and one.contradicted == 1.0
    assert one.supported == pytest.approx(2 * 0.001)


def test_a_direction_leaves_one_test_open_until_the_margin_is_shown():
    both = Statements(0.001, 1.0, 0.01)
    assert open_tests(both, set()) == 2 and open_tests(both, {"equivalent"}) == 2
    assert open_tests(both, {"supported"}) == 1
    assert open_tests(both, {"supported", "equivalent"}) == 0
    assert open_tests(Statements(0.001, 1.0), {"supported"}) == 0
    first, second = adjusted([both, Statements(0.02, 1.0)])
    assert first.supported == pytest.approx(4 * 0.001)
    assert first.equivalent == pytest.approx(3 * 0.01)  # its own margin, two of the other claim
    assert second.supported == pytest.approx(2 * 0.02)


def statements(d, margin):
    """The statements of t tests on d (n,)."""
    n = len(d)
    error = d.std(ddof=1) / np.sqrt(n)

    def above(bound, sign=1):
        return float(stats.t.sf((sign * d.mean() - bound) / error, n - 1))

    within = max(above(-margin), above(-margin, -1)) if margin else NAN
    return Statements(above(0.0), above(0.0, -1), within)


@pytest.mark.parametrize(
    "means", [[(20.0, 20.0), (40.0, 40.0), (80.0, 80.0), (0.0, NAN)], [(9.0, 9.0)] * 6]
)
def test_no_false_statement_in_a_family_with_true_directions_at_their_margins(means):
    """Claims whose mean lies exactly at the margin, where "small" is false, beside a null.

    Holm's factor of the direction alone lets 7 % of such families err.
    """
    rng, wrong, repeats = np.random.default_rng(0), 0, 1500
    for _ in range(repeats):
        family = [
            statements(mean + rng.standard_normal(6), 0 if np.isnan(margin) else margin)
            for mean, margin in means
        ]
        after = adjusted(family)
        wrong += any(
            one.made - ({"supported"} if mean else set())
            for one, (mean, _) in zip(after, means, strict=True)
        )
    assert wrong / repeats < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
