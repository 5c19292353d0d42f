"""Golden numbers from t tables (4.302653 at 2 degrees, 12.706205 at 1) and closed forms."""

import math
import warnings

import pandas as pd
import pytest
from scipy import stats

from cabench.evidence.statistics import holm, holm_by_family, mean_interval, paired_difference


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_interval_of_three_and_of_two():
    three = mean_interval([1.0, 2.0, 3.0])  # sd 1
    assert three.mean == 2 and three.n == 3
    assert three.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    two = mean_interval([0.0, 2.0])  # sd sqrt 2, so half = t
    assert (two.low, two.high) == pytest.approx((1 - 12.706205, 1 + 12.706205), rel=1e-6)


def test_interval_of_one_and_of_none():
    one = mean_interval([0.5])
    assert one.mean == 0.5 and one.n == 1 and math.isnan(one.low) and math.isnan(one.high)
    none = mean_interval([])
    assert none.n == 0 and math.isnan(none.mean)
    assert mean_interval([1.0, float("nan"), 3.0, float("inf")]).n == 2


def test_paired_difference_is_that_of_a_t_test():
    ours = pd.Series([11.0, 22.0, 33.0], index=[0, 1, 2])
    base = pd.Series([30.0, 10.0, 20.0], index=[2, 0, 1])  # another order: differences 1, 2, 3
    actual = paired_difference(ours, base)
    t = 2 * math.sqrt(3)
    assert actual.mean == 2 and actual.n == 3
    assert actual.p == pytest.approx(1 - t / math.sqrt(2 + t * t))  # two degrees of freedom
    assert actual.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert list(actual.values.sort_index()) == [1, 2, 3]


def test_paired_difference_agrees_with_scipy_on_common_seeds():
    ours = pd.Series([0.31, 0.28, 0.30, 0.35, 9.0], index=[0, 1, 2, 3, 7])
    base = pd.Series([0.33, 0.29, 0.30, 0.36, 0.1], index=[0, 1, 2, 3, 5])
    actual, known = paired_difference(ours, base), stats.ttest_rel(ours[:4], base[:4])
    low, high = known.confidence_interval(0.95)
    assert actual.n == 4 and actual.p == pytest.approx(known.pvalue)
    assert (actual.low, actual.high) == pytest.approx((low, high))


def test_paired_difference_needs_two_seeds():
    actual = paired_difference(pd.Series({0: 1.0}), pd.Series({0: 3.0}))
    assert actual.mean == -2 and actual.n == 1 and math.isnan(actual.p) and math.isnan(actual.low)
    assert paired_difference(pd.Series({0: 1.0}), pd.Series({1: 3.0})).n == 0


def test_differences_without_spread():
    base = pd.Series([0.1, 0.2, 0.7])
    same = paired_difference(base.copy(), base)
    assert same.mean == 0 and same.p == 1 and same.half == 0
    shifted = paired_difference(base + 0.1, base)  # equal but for rounding
    assert shifted.mean == pytest.approx(0.1) and math.isnan(shifted.p)


def test_holm_step_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    with_gap = holm([0.02, float("nan"), 0.04])
    assert with_gap[0] == pytest.approx(0.04) and with_gap[2] == pytest.approx(0.04)
    assert math.isnan(with_gap[1])
    assert holm([]) == []


def test_added_arms_change_no_verdict_of_the_studys_own():
    ps = [0.01, 0.04, float("nan"), 0.03]
    alone = holm([0.01, 0.04, float("nan")])
    both = holm_by_family(ps, [False, False, False, True])
    assert both[:2] == alone[:2] and both[2] != both[2] and both[3] == 0.03
