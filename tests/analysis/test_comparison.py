"""Comparisons of the committed records with numbers by numpy and scipy's own paired t test."""

import math
from pathlib import Path

import numpy as np
import pytest
from example_study import read_results
from rundir import fail, reference
from scipy import stats

from cabench.analysis.comparison import (
    ABSENT,
    Difference,
    Side,
    agreement,
    arms,
    cost_rows,
    metric_rows,
    model_differences,
    protocol_differences,
    value_text,
)
from cabench.records.reading import read_record


def side(manifest, records, arm=None, name="here"):
    return Side(name, read_results(manifest, {r["key"]: r for r in records.values()}), arm)


def typed(record):
    return read_record(record, Path("record.json"))


def pair(ours, theirs):
    manifest, records = reference()
    return side(manifest, records, ours), side(manifest, records, theirs)


def values(records, arm, metric):
    return np.array([records[arm, seed]["metrics"][metric] for seed in range(3)])


# ---- two arms ----------------------------------------------------------------------------------


def test_differences_are_scipys_paired_t_test():
    _, records = reference()
    for row in metric_rows(*pair("native+can-dw", "native+dw")):
        if "/g" in row.metric.name:
            continue
        ours, theirs = (values(records, a, row.metric.name) for a in ("native+can-dw", "native+dw"))
        test = stats.ttest_rel(ours, theirs)
        low, high = test.confidence_interval(0.95)
        actual = row.difference
        assert [actual.mean, actual.low, actual.high, actual.p] == pytest.approx(
            [np.mean(ours - theirs), low, high, test.pvalue]
        )
        half = stats.t.ppf(0.975, 2) * np.std(ours, ddof=1) / math.sqrt(3)
        assert (row.a.mean, row.a.half, row.a.n) == (
            pytest.approx(np.mean(ours)),
            pytest.approx(half),
            3,
        )


def test_every_metric_that_both_have_the_primary_first():
    names = [row.metric.name for row in metric_rows(*pair("can-3", "native+dw"))]
    _, records = reference()
    assert names[0] == "kid_levels" and set(names) == set(records["can-3", 0]["metrics"])
    manifest, records = reference()
    for seed in range(3):
        del records["can-3", seed]["metrics"]["train_loss"]
    rows = metric_rows(side(manifest, records, "can-3"), side(manifest, records, "native"))
    assert "train_loss" not in [row.metric.name for row in rows]


def test_only_shared_seeds_are_paired():
    manifest, records = reference()
    fail(records["native", 2])
    rows = metric_rows(side(manifest, records, "can-3"), side(manifest, records, "native"))
    kid = rows[0]
    ours, theirs = (values(reference()[1], arm, "kid_levels") for arm in ("can-3", "native"))
    assert (kid.a.n, kid.b.n, kid.difference.n) == (3, 2, 2)
    assert kid.difference.mean == pytest.approx(np.mean((ours - theirs)[:2]))
    swept = next(row for row in rows if row.metric.name == "kid_levels/g2")  # on seed 0 alone
    assert swept.difference.n == 1 and math.isnan(swept.difference.p)


def test_cost_is_a_ratio():
    _, records = reference()
    ours, theirs = (records[arm, 0]["cost"] for arm in ("can-3", "native+dw"))
    actual = {row.name: row.ratio for row in cost_rows(*pair("can-3", "native+dw"))}
    assert actual["MACs"] == ours["macs"]["total"] / theirs["macs"]["total"]
    assert actual["params"] == ours["params"]["total"] / theirs["params"]["total"]
    against_none = {row.name: row.ratio for row in cost_rows(*pair("can-3", "unconditional"))}
    assert math.isnan(against_none["conditioning MACs"])


# ---- what differs ------------------------------------------------------------------------------

CHANGES = {
    "train.data.fingerprint": "0" * 64,
    "train.training.lr": 0.002,
    "train.diffusion.prediction": "eps",
    "train.recipe": 99,
    "images": 44800,
    "sample.steps": 25,
    "guidance": 1.5,
    "score.judge": "f" * 64,
    "score.heldout.images": 100,
    "score.metrics.kid": 2,
    "score.probe": 2,
}
HARMLESS = {
    "train.seed": 9,
    "train.init_salt": "b",
    "train.model.backbone.width": 96,
    "sweep": [3.0],
    "score.metrics.fid_inception": 1,  # measured by one side only
}


def edited(record, path, value):
    """The record, typed, with another value in its spec."""
    spec = record["spec"]
    *parents, last = path.split(".")
    for part in parents:
        spec = spec[part]
    spec[last] = value
    return typed(record)


@pytest.mark.parametrize("path", CHANGES)
def test_what_affects_scores_is_named_with_both_values(path):
    _, records = reference()
    after = edited(reference()[1]["native", 0], path, CHANGES[path])
    (difference,) = protocol_differences(typed(records["can-3", 0]), after)
    assert difference.path == path and difference.b == CHANGES[path] != difference.a


@pytest.mark.parametrize("path", HARMLESS)
def test_what_does_not_affect_scores_is_left_out(path):
    _, records = reference()
    after = edited(reference()[1]["can-3", 0], path, HARMLESS[path])
    assert protocol_differences(typed(records["can-3", 0]), after) == []


def test_arms_of_one_run_have_one_protocol():
    _, records = reference()
    first = typed(records["unconditional", 0])
    assert not any(protocol_differences(first, typed(other)) for other in records.values())


def test_models_differ_method_by_method():
    records = {pair: typed(record) for pair, record in reference()[1].items()}
    actual = {d.path: d for d in model_differences(records["native", 0], records["can-dw", 0])}
    assert set(actual) == {"backbone.depthwise", "backbone.norm_affine", "adaln_zero", "can"}
    assert (actual["backbone.depthwise"].a, actual["backbone.depthwise"].b) == (False, True)
    assert actual["adaln_zero"].b is ABSENT and actual["can"].a is ABSENT
    (sites,) = model_differences(records["can-dw", 0], records["can-dw-pe", 1])
    assert str(sites) == "can.sites ([depthwise] / [depthwise, patch_embed])"
    salted = edited(reference()[1]["native", 0], "train.init_salt", "b")
    assert list(map(str, model_differences(records["native", 0], salted))) == ["init_salt ('' / b)"]


def test_a_method_that_is_used_twice():
    _, records = reference()
    twice = reference()[1]["can-dw", 0]
    methods = twice["spec"]["train"]["model"]["methods"]
    methods.append({**methods[0], "options": {**methods[0]["options"], "sites": ["head"]}})
    (actual,) = model_differences(typed(records["can-dw", 0]), typed(twice))
    assert actual.path == "can (2)" and actual.a is ABSENT and actual.b["sites"] == ["head"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (None, "null"),
        (ABSENT, "-"),
        ("", "''"),
        (True, "true"),
        ("7e98d6ff0d424c2f3043aceeb9d63726", "7e98d6ff0d42"),
        ([1, "a"], "[1, a]"),
        ({"rank": 4, "sites": ["head"]}, "rank: 4, sites: [head]"),
    ],
)
def test_values_are_short_and_numbers_whole(value, text):
    assert value_text(value) == text


def test_metrics_that_no_table_lists_have_a_title():
    manifest, records = reference()
    for record in (records["can-3", 0], records["native", 0]):
        record["metrics"] |= {"kid/g2.5": 1.0, "my_score": 1.0}
    rows = metric_rows(side(manifest, records, "can-3"), side(manifest, records, "native"))
    titles = {row.metric.name: row.title for row in rows}
    assert titles["kid"] == "KID-lite0 @2000 ↓"
    assert titles["kid/g2.5"] == "KID-lite0 @2000 guidance 2.5 ↓"
    assert titles["condition_accuracy/g2"] == "condition accuracy guidance 2 ↑"
    assert titles["heldout_loss/bin3"] == "held-out loss bin 3 ↓"
    assert titles["my_score"] == "my score"  # the study doesn't say which direction is better


# ---- two runs ----------------------------------------------------------------------------------


def test_a_run_agrees_with_itself():
    actual = agreement(side(*reference()), side(*reference()))
    assert (actual.same, actual.of, actual.both) == (30, (30, 30), 30)
    assert actual.equal == {"metrics": 30, "spec": 30, "cost": 30} and not actual.faults


def test_the_last_bit_of_one_number_is_seen():
    manifest, records = reference()
    record = records["can-3", 1]
    before = record["metrics"]["kid"]
    record["metrics"]["kid"] = math.nextafter(before, math.inf)
    record["environment"]["packages"]["torch"] = "0.1"
    actual = agreement(side(*reference()), side(manifest, records))
    assert actual.equal == {"metrics": 29, "spec": 30, "cost": 30}
    (line,) = actual.faults
    assert line.startswith(f"can-3, seed 1 ({record['key']}), metrics: kid")
    assert repr(before) in line and repr(record["metrics"]["kid"]) in line
    assert [d.path for d in actual.environments] == ["packages.torch"]


def test_another_key_is_another_trial_and_an_unfinished_one_is_not_compared():
    manifest, records = reference()
    moved = records["native", 0]
    for trial in manifest["trials"]:
        if trial["key"] == moved["key"]:
            trial["key"] = moved["key"] = "0" * 16
    fail(records["native", 1])
    del records["native", 2]
    actual = agreement(side(*reference()), side(manifest, records))
    assert (actual.same, actual.both, actual.equal["metrics"]) == (29, 27, 27)


def test_arms_that_only_one_run_has():
    manifest, records = reference()
    for trial in manifest["trials"]:
        if trial["arm"] == "can-3":
            trial["arm"] = "can-new"
    for arm in manifest["arms"]:
        if arm["name"] == "can-3":
            arm["name"] = "can-new"
    actual = arms(side(*reference()), side(manifest, records))
    assert (actual.only_a, actual.only_b, len(actual.common)) == (["can-3"], ["can-new"], 9)


def test_a_difference_reads_as_key_and_both_values():
    assert str(Difference("images", 22400, 44800)) == "images (22400 / 44800)"
