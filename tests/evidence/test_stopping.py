"""How many seeds an open claim would need, and when it is given up."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cabench.evidence.design import Design
from cabench.evidence.rules import Gain
from cabench.evidence.statistics import ALPHA
from cabench.evidence.stopping import MOST, is_futile, seeds_needed, smallest_effect
from cabench.records.schema import ManifestDesign

NAN = float("nan")


def gain(mean, sd=1.0, n=4, margin=NAN):
    """n differences with exactly this mean and standard deviation."""
    values = stats.zscore(np.linspace(-1, 1, n), ddof=1)
    return Gain(pd.Series(mean + sd * values), margin)


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("sequential", [False, True])
def test_seeds_needed_are_the_fewest_that_decide(sequential, factor):
    design = Design(sequential)
    count = seeds_needed("superiority", [gain(0.9)], design, factor)
    p = {n: 2 * design.p_above_at(n, 0.9, 1.0) * factor for n in (count - 1, count)}
    assert p[count] < ALPHA <= p[count - 1]


def test_needed_seeds_of_a_fixed_design_are_those_of_a_t_test():
    count = seeds_needed("superiority", [gain(0.9)], Design(), 1)
    same = stats.zscore(np.arange(count), ddof=1) + 0.9
    assert stats.ttest_1samp(same, 0).pvalue < ALPHA
    fewer = stats.zscore(np.arange(count - 1), ddof=1) + 0.9
    assert stats.ttest_1samp(fewer, 0).pvalue > ALPHA


def test_a_sequential_test_needs_more():
    fixed, sequential = (seeds_needed("superiority", [gain(0.9)], Design(s), 1) for s in (0, 1))
    assert fixed < sequential < 3 * fixed


def test_the_weaker_metric_decides():
    alone = seeds_needed("superiority", [gain(0.5)], Design(), 1)
    assert seeds_needed("superiority", [gain(3.0), gain(0.5)], Design(), 1) == alone
    assert seeds_needed("superiority", [gain(0.0)], Design(), 1) is None
    assert seeds_needed("superiority", [gain(-0.5), gain(0.5)], Design(), 1) is None
    assert alone < MOST


def test_a_margin_makes_equivalence_reachable():
    assert seeds_needed("superiority", [gain(0.0, margin=1.0)], Design(True), 1) is not None


def test_futile_where_no_plausible_effect_would_be_shown():
    rule = ManifestDesign(most=12)

    def futile(*gains, rule=rule):
        return is_futile("superiority", gains, Design(True), 1, rule)

    assert futile(gain(0.0, n=9)) and not futile(gain(1.0, n=9))
    assert futile(gain(0.7, n=9)) and not futile(gain(0.7, n=3))  # three differences allow more
    assert futile(gain(3.0, n=9), gain(0.0, n=9))
    assert not futile(gain(0.0, n=9, margin=2.0))  # equivalence is within reach
    assert not futile(gain(0.4, n=9), rule=ManifestDesign(most=100))


def test_a_family_of_four_needs_large_effects_at_few_seeds():
    """From e values alone: 160 in one direction; at most 56 on 3 seeds, 450 on 4."""
    effects = {n: smallest_effect(n, 4, Design(True)) for n in (3, 4, 5, 8)}
    assert effects[3] is None
    assert effects[4] == pytest.approx(6.3, abs=0.05)
    assert effects[5] == pytest.approx(3.5, abs=0.05)
    assert effects[8] == pytest.approx(2.0, abs=0.05)
    t = stats.t.ppf(1 - ALPHA / 8, 2)
    assert smallest_effect(3, 4, Design()) == pytest.approx(t / 3**0.5)
