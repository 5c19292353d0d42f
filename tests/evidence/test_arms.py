"""Every arm beside the baseline."""

import math

import pytest

from cabench.evidence.statistics import holm


def test_every_arm_is_compared_and_adjusted_within_a_metric(study):
    example = study(missing=[("can-3", 1)])
    rows = example.results().compare_arms()
    assert len(rows) == 12 * 4
    kid = {row.arm: row for row in rows if row.metric == "kid"}
    assert list(kid) == [arm["name"] for arm in example.manifest["arms"]]
    assert kid["static"].role == "bound" and math.isnan(kid["static"].p)
    assert kid["static"].difference.mean > 0 and kid["static"].difference.low > 0
    assert kid["native+dw"].role == "baseline" and math.isnan(kid["native+dw"].difference.mean)
    assert kid["can-3"].level.n == 2 and kid["can-3"].difference.n == 2
    tested = [row for row in kid.values() if row.role == "arm"]
    assert [row.p_holm for row in tested] == pytest.approx(holm([row.p for row in tested]))
    by_hand = [
        example.records[f"native+can-3@{s}"]["metrics"]["kid"]
        - example.records[f"native+dw@{s}"]["metrics"]["kid"]
        for s in range(3)
    ]
    assert kid["native+can-3"].difference.mean == pytest.approx(sum(by_hand) / 3)


def test_one_seed_has_means_but_neither_interval_nor_test(study):
    rows = study(seeds=1).results().compare_arms()
    assert all(math.isnan(row.p) and math.isnan(row.level.low) for row in rows)
    assert not any(math.isnan(row.level.mean) for row in rows)


def test_added_arms_are_a_family_of_their_own(study):
    example = study()
    before = {row.arm: row.p_holm for row in example.results().compare_arms(["kid"])}
    (entry,) = (arm for arm in example.manifest["arms"] if arm["name"] == "can-all")
    entry["added"] = True
    after = {row.arm: row for row in example.results().compare_arms(["kid"])}
    assert after["can-all"].p_holm == after["can-all"].p < before["can-all"]
