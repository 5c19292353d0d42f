"""Verdicts on differences whose t and p are known by hand (p = 1 - t / sqrt(2 + t^2) at n = 3)."""

from typing import get_args

import pytest
from scipy import stats

from cabench.config.schema import Claim
from cabench.errors import CabenchError
from cabench.evidence.verdicts import TESTS, judge

BASE = [10.0, 11.0, 12.0]
# mean -2, sd .1: t = 34.6, p = .00083
CLEAR = [b - d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]
# mean -2, sd .7: t = 4.949, p = .0385: alone significant, not after Holm over two
MARGINAL = [b - d for b, d in zip(BASE, [1.3, 2.0, 2.7], strict=True)]


def ledger(values, claims, higher=False, bound=()):
    """Judge claims given as (better, than) over arms' values by seed; None is a failed trial."""
    manifest = {
        "study": "s",
        "question": "?",
        "scale": "smoke",
        "baseline": "base",
        "primary": "kid",
        "arms": [{"name": a, "bound": a in bound} for a in values],
        "seeds": [0, 1, 2],
        "trials": [
            {"arm": a, "seed": s, "key": f"{a}{s}"} for a in values for s in range(len(values[a]))
        ],
        "metrics": {"kid": {"label": "KID", "higher_is_better": higher}},
        "claims": [
            {"id": f"C{i}", "says": "...", "metric": "kid", "test": "superiority"}
            | dict(zip(("better", "than", "metric"), claim, strict=False))
            for i, claim in enumerate(claims)
        ],
    }
    records = {
        f"{a}{s}": {"status": "complete", "metrics": {"kid": v}}
        if v is not None
        else {"status": "failed", "error": "boom", "metrics": {}}
        for a in values
        for s, v in enumerate(values[a])
    }
    return judge(manifest, records)


def test_supported_and_contradicted():
    found = ledger({"base": BASE, "can": CLEAR}, [("can", "base"), ("base", "can")])
    assert list(found["verdict"]) == ["supported", "contradicted"]
    assert found.loc[0, "diff"] == pytest.approx(-2) and found.loc[1, "diff"] == pytest.approx(2)
    assert found.loc[0, "p"] == pytest.approx(0.000832, abs=1e-6)
    assert found.loc[0, "p_holm"] == pytest.approx(2 * 0.000832, abs=2e-6)
    half = 4.302653 * 0.1 / 3**0.5
    assert found.loc[0, "low"] == pytest.approx(-2 - half, abs=1e-6)


def test_direction_follows_the_metric():
    found = ledger({"base": BASE, "can": CLEAR}, [("can", "base")], higher=True)
    assert found.loc[0, "verdict"] == "contradicted"


def test_holm_over_the_claims_decides():
    values = {"base": BASE, "a": MARGINAL, "b": MARGINAL}
    alone = ledger(values, [("a", "base")])
    assert alone.loc[0, "p"] == pytest.approx(0.0385, abs=1e-4)
    assert alone.loc[0, "verdict"] == "supported"
    both = ledger(values, [("a", "base"), ("b", "base")])
    assert list(both["verdict"]) == ["unresolved", "unresolved"]
    assert both.loc[0, "high"] < 0  # its own interval excludes zero


def test_claims_that_were_not_tested_do_not_count_in_holm():
    found = ledger({"base": BASE, "a": MARGINAL}, [("a", "base"), ("gone", "base")])
    assert list(found["verdict"]) == ["supported", "not tested"]


@pytest.mark.parametrize(
    ("values", "claim", "reason"),
    [
        ({"base": BASE}, ("gone", "base"), "'gone' is not run at this scale"),
        ({"base": BASE, "can": [None] * 3}, ("can", "base"), "'can' failed"),
        ({"base": BASE, "can": [9.0, None, None]}, ("can", "base"), "found 1"),
        ({"base": BASE[:1], "can": [9.0]}, ("can", "base"), "needs 2 seeds"),
        ({"base": BASE, "can": CLEAR}, ("can", "base", "clip"), "'clip' is not measured"),
        ({"base": BASE, "can": [8.0, 9.0, 10.0]}, ("can", "base"), "no spread"),
    ],
)
def test_not_tested_says_why(values, claim, reason):
    found = ledger(values, [claim])
    assert found.loc[0, "verdict"] == "not tested" and reason in found.loc[0, "reason"]


def test_a_bound_is_no_contestant():
    found = ledger({"base": BASE, "can": CLEAR}, [("can", "base")], bound=("base",))
    assert found.loc[0, "verdict"] == "not tested" and "bound" in found.loc[0, "reason"]


def test_a_verdict_on_fewer_seeds_says_so():
    found = ledger({"base": BASE, "can": [8.0, 9.1, None]}, [("can", "base")])
    assert found.loc[0, "verdict"] == "supported" and found.loc[0, "reason"] == "2 of 3 seeds"


def test_equal_arms_are_unresolved():
    assert ledger({"base": BASE, "can": BASE}, [("can", "base")]).loc[0, "verdict"] == "unresolved"


def test_unknown_test_lists_what_is_allowed(study):
    manifest, records, _ = study()
    manifest["claims"][0]["test"] = "superiorty"
    with pytest.raises(CabenchError, match="C1.*superiorty.*did you mean.*allowed: superiority"):
        judge(manifest, records)


def test_no_claims(study):
    manifest, records, _ = study()
    manifest["claims"] = []
    assert judge(manifest, records).empty


# ---- several metrics, facts of counting, added claims -----------------------------------------

HIGH = [0.50, 0.55, 0.52]


def several(ours, claim, counts=None):
    """Judge claims over kid (lower) and accuracy (higher): {arm: {metric: values by seed}}."""
    manifest = {
        "study": "s",
        "question": "?",
        "scale": "smoke",
        "baseline": "base",
        "primary": "kid",
        "arms": [{"name": a} for a in ours],
        "seeds": [0, 1, 2],
        "trials": [{"arm": a, "seed": s, "key": f"{a}{s}"} for a in ours for s in range(3)],
        "metrics": {"kid": {"label": "KID"}, "acc": {"label": "acc", "higher_is_better": True}},
        "claims": [{"says": "...", "test": "superiority"} | one for one in claim],
    }
    records = {
        f"{arm}{s}": {
            "status": "complete",
            "metrics": {m: values[s] for m, values in scores.items()},
            "cost": (counts or {}).get(arm, {}),
        }
        for arm, scores in ours.items()
        for s in range(3)
    }
    return judge(manifest, records)


def two(kid, acc):
    return {"base": {"kid": BASE, "acc": HIGH}, "can": {"kid": kid, "acc": acc}}


BOTH = {"id": "B", "better": "can", "than": "base", "metric": ["kid", "acc"]}


def test_several_metrics_take_the_largest_p():
    acc = [h + d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    row = several(two(CLEAR, acc), [BOTH]).iloc[0]
    ps = [stats.ttest_rel(CLEAR, BASE).pvalue, stats.ttest_rel(acc, HIGH).pvalue]
    assert row["p"] == pytest.approx(max(ps)) and row["verdict"] == "supported"
    assert [part["p"] for part in row["parts"]] == pytest.approx(ps)
    assert row["parts"][1]["better"] == pytest.approx(sum(acc) / 3)


def test_several_metrics_need_all_of_them():
    worse = [h - d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    vague = [h + d for h, d in zip(HIGH, [0.10, -0.05, 0.02], strict=True)]
    up = [b + d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]
    assert several(two(CLEAR, worse), [BOTH]).iloc[0]["verdict"] == "unresolved"
    assert several(two(CLEAR, vague), [BOTH]).iloc[0]["verdict"] == "unresolved"
    assert several(two(up, worse), [BOTH]).iloc[0]["verdict"] == "contradicted"
    row = several(two(CLEAR, HIGH), [BOTH | {"metric": ["kid", "clip"]}]).iloc[0]
    assert row["verdict"] == "not tested" and "'clip' is not measured" in row["reason"]


def test_several_metrics_enter_holm_once():
    acc = [h + d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    other = {"id": "K", "better": "can", "than": "base", "metric": "kid"}
    found = several(two(CLEAR, acc), [BOTH, other]).set_index("id")
    p_both, p_kid = found.loc["B", "p"], found.loc["K", "p"]
    assert found.loc["K", "p_holm"] == pytest.approx(2 * p_kid)
    assert found.loc["B", "p_holm"] == pytest.approx(max(2 * p_kid, p_both))


COUNTS = {
    "base": {"macs": {"total": 1000}, "params": {"total": 300}},
    "can": {"macs": {"total": 1040}, "params": {"total": 300}},
}


@pytest.mark.parametrize(
    ("metric", "ratio", "better", "verdict"),
    [
        ("macs", None, "can", "contradicted"),
        ("macs", None, "base", "by construction"),
        ("macs", 1.05, "can", "by construction"),
        ("macs", 1.04, "can", "by construction"),
        ("macs", 1.03, "can", "contradicted"),
        ("params", None, "can", "contradicted"),  # as many are not fewer
        ("params", 1, "can", "by construction"),
    ],
)
def test_counting_decides(metric, ratio, better, verdict):
    than = "base" if better == "can" else "can"
    fact = {
        "id": "F",
        "better": better,
        "than": than,
        "metric": metric,
        "ratio": ratio,
        "test": "by_construction",
    }
    test = {"id": "T", "better": "can", "than": "base", "metric": "kid"}
    found = several(two(MARGINAL, HIGH), [fact, test], COUNTS).set_index("id")
    assert found.loc["F", "verdict"] == verdict
    assert found.loc["F", "p"] != found.loc["F", "p"]
    assert found.loc["T", "p_holm"] == found.loc["T", "p"]  # a fact is no test
    assert found.loc["F", "parts"][0]["better"] == COUNTS[better][metric]["total"]


def test_nothing_counted_is_not_tested():
    fact = {"id": "F", "better": "can", "than": "base", "metric": "macs", "test": "by_construction"}
    row = several(two(BASE, HIGH), [fact], {"base": COUNTS["base"]}).iloc[0]
    assert row["verdict"] == "not tested" and "no counts of 'can'" in row["reason"]
    row = several(two(BASE, HIGH), [fact | {"better": "gone"}], COUNTS).iloc[0]
    assert row["verdict"] == "not tested" and "'gone' is not run" in row["reason"]


def test_added_claims_are_a_family_of_their_own_and_come_last():
    values = two(MARGINAL, HIGH) | {"mine": {"kid": MARGINAL, "acc": HIGH}}
    own = {"id": "O", "better": "can", "than": "base", "metric": "kid"}
    added = {"id": "A", "better": "mine", "than": "base", "metric": "kid", "added": True}
    found = several(values, [added, own])
    assert list(found["id"]) == ["O", "A"] and list(found["added"]) == [False, True]
    assert list(found["verdict"]) == ["supported", "supported"]  # each alone in its family
    together = several(values, [added | {"added": False}, own])
    assert list(together["verdict"]) == ["unresolved", "unresolved"]


def test_the_tests_of_a_study_file_are_those_that_can_be_judged():
    assert set(get_args(Claim.model_fields["test"].annotation)) == set(TESTS)
