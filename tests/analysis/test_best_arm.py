"""The sentence on the best arm: its choice among many widens the interval."""

import math

import pytest

from cabench.analysis.best_arm import best_arm_text
from cabench.analysis.pareto import pareto_front
from cabench.analysis.tables import cost_rows
from cabench.evidence.design import Design
from cabench.evidence.statistics import ALPHA, mean_interval


def best(results):
    return min(
        (row for row in results.compare_arms(["kid"]) if row.role != "bound"),
        key=lambda row: row.level.mean,
    )


def test_the_interval_covers_for_all_arms_at_once(study):
    results = study(seeds=6).results()
    text, row = best_arm_text(results), best(results)
    tests = len(results.contenders) - 1
    wide = mean_interval(1000 * row.difference.values, 1 - ALPHA / tests)
    narrow = row.difference.scaled(1000)
    assert wide.low < narrow.low and wide.high > narrow.high
    start = f"Lowest KID x10^3 @2000 of {tests + 1} arms: {row.arm}, {1000 * row.level.mean:.2f}; "
    assert text.startswith(start)
    assert f"[{wide.low:+.2f}, {wide.high:+.2f}] to the baseline, native+dw: " in text
    costs = results.costs
    assert f"at {costs[row.arm].macs / costs['native+dw'].macs:.3g} times the MACs" in text


def test_better_needs_the_corrected_test(study):
    example = study(seeds=6)
    for s in range(6):
        example.records[f"can-3@{s}"]["metrics"]["kid"] = 0.001 + 1e-5 * s
    assert "can-3" in best_arm_text(example.results())
    assert ": better; " in best_arm_text(example.results())
    for s in range(6):  # far lower on average, but not on every seed
        example.records[f"can-3@{s}"]["metrics"]["kid"] = 0.02 if s == 0 else 0.0005
    assert best(example.results()).arm == "can-3"
    assert ": unresolved; " in best_arm_text(example.results())


def test_the_baseline_may_be_the_best(study):
    example = study()
    for s in range(3):
        example.records[f"native+dw@{s}"]["metrics"]["kid"] = 0.0001
    text = best_arm_text(example.results())
    assert "native+dw, " in text and text.endswith(": the baseline; no other arm's mean is better.")


def test_an_arm_with_a_failed_seed_does_not_take_part(study):
    example = study(failed=[("can-3", 0)])
    for s in (1, 2):
        example.records[f"can-3@{s}"]["metrics"]["kid"] = 0.0001
    assert "can-3," not in best_arm_text(example.results())


def test_one_seed_has_no_test(study):
    text = best_arm_text(study(["native", "native+dw", "can-3"], seeds=1).results())
    assert ": one seed, no test" in text and "[" not in text


def test_few_seeds_of_a_sequential_design_have_no_joint_interval(study):
    example = study()
    example.manifest["design"] = {"sequential": True}
    text = best_arm_text(example.results())
    assert "[" not in text and "No interval: 3 seeds are too few for 10 differences." in text


def test_a_joint_interval_of_one_test_is_its_own(study):
    results = study().results()
    row = best(results)
    same = Design.of(results.manifest).jointly(row.difference, 1)
    assert (same.low, same.high) == pytest.approx((row.difference.low, row.difference.high))


def test_the_front_holds_what_no_cheaper_arm_reaches(study):
    example = study(["native", "native+dw", "can-3"])
    for arm, kid in {"native": 0.03, "native+dw": 0.01, "can-3": 0.02}.items():
        for s in range(3):
            example.records[f"{arm}@{s}"]["metrics"]["kid"] = kid + 1e-4 * s
    rows = cost_rows(example.results()).set_index("arm")
    # MACs rise in this order, and can-3 is worse than the cheaper control
    assert list(rows["on_front"]) == [True, True, False]
    assert rows.loc["native+dw", "macs_ratio"] == 1 < rows.loc["can-3", "macs_ratio"]


def test_arms_that_are_equal_in_cost_and_score_are_on_the_front_together():
    costs = {"f": 4.0, "a": 1.0, "b": 2.0, "c": 2.0, "d": 3.0, "e": math.nan, "g": 4.0, "h": 5.0}
    scores = {"f": 1.0, "a": 5.0, "b": 3.0, "c": 3.0, "d": 4.0, "e": 0.0, "g": 2.0, "h": math.nan}
    assert pareto_front(costs, scores, higher_is_better=False) == ["a", "b", "c", "f"]
    best = {arm: -score for arm, score in scores.items()}
    assert pareto_front(costs, best, higher_is_better=True) == ["a", "b", "c", "f"]
