"""Ranks with intervals, and the probability that one arm beats another."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from example_study import make_study

from cabench.evidence.ranks import Ranking, chance_of_gain


def ranking(scores, failed=()):
    """The ranking of arms with these scores by seed; the metric is better when lower."""
    seeds = len(next(iter(scores.values())))
    study = make_study(["native+dw", *scores], seeds=seeds, failed=failed)
    for arm, values in ({"native+dw": [0.5] * seeds} | scores).items():
        for seed, value in enumerate(values):
            if study.records[f"{arm}@{seed}"]["status"] == "complete":
                study.records[f"{arm}@{seed}"]["metrics"]["kid"] = value
    return Ranking(study.results(), "kid")


NOISE = np.array([0.001, -0.002, 0.003, -0.001, 0.002, -0.003])


def test_ranks_leave_room_for_arms_that_are_not_significantly_different():
    base = 0.5 + NOISE
    ranks = ranking(
        {"a": (base - 0.3 + NOISE[::-1]).tolist(), "b": (base + 0.0005 * NOISE).tolist()}
    ).ranks
    places = {rank.arm: (rank.place, rank.best, rank.worst) for rank in ranks}
    assert places["a"] == (1, 1, 1)
    assert {places["b"][1:], places["native+dw"][1:]} == {(2, 3)}


def test_an_arm_with_a_failed_seed_is_ranked_without_a_test():
    scores = {"a": (0.2 + NOISE).tolist(), "b": (0.4 - NOISE).tolist()}
    (rank,) = [r for r in ranking(scores, failed=[("a", 2)]).ranks if r.arm == "a"]
    assert (rank.place, rank.best, rank.worst) == (1, 1, 3)


def test_the_probability_of_a_gain_is_that_of_the_predictive_distribution():
    gains = pd.Series([1.0, 2.0, 6.0])
    rng = np.random.default_rng(0)  # posterior of (mean, variance) under the reference prior
    variance = 2 * gains.var() / rng.chisquare(2, 200_000)
    drawn = rng.normal(gains.mean(), np.sqrt(variance * (1 + 1 / 3)))
    assert chance_of_gain(gains) == pytest.approx((drawn > 0).mean(), abs=4e-3)
    assert chance_of_gain(-gains) == pytest.approx(1 - chance_of_gain(gains))
    assert [chance_of_gain(pd.Series([x, x])) for x in (2.0, -2.0, 0.0)] == [1, 0, 0.5]
    assert math.isnan(chance_of_gain(pd.Series([1.0])))


def test_probabilities_of_a_pair_add_up_to_one_and_follow_the_better_direction():
    both = ranking({"a": (0.2 + NOISE).tolist(), "b": (0.25 - NOISE).tolist()})
    assert both.probability("a", "b") > 0.99
    assert both.probability("a", "b") + both.probability("b", "a") == pytest.approx(1)
