"""Verdicts on differences whose t and p are known by hand (p = 1 - t / sqrt(2 + t^2) at n = 3)."""

import math
from typing import get_args

import pytest
from example_study import make_claim, make_failed, make_manifest, make_record, read_results
from scipy import stats

from cabench.analysis.verdict_text import claim_rows, disagreement
from cabench.config.schema import Claim
from cabench.errors import CabenchError
from cabench.evidence.verdicts import TESTS

BASE = [10.0, 11.0, 12.0]
# mean -2, sd .1: t = 34.6, p = .00083
CLEAR = [b - d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]
# mean -2, sd .7: t = 4.949, p = .0385: significant alone, but not after Holm over two
MARGINAL = [b - d for b, d in zip(BASE, [1.3, 2.0, 2.7], strict=True)]


def judged(values, claims, higher=False, bound=()):
    """Verdicts on claims about KID, given as (better, than, metric).

    `values`: KID by arm and seed; None is a failed trial.
    """
    metrics = {"kid": {"label": "KID", "higher_is_better": higher}}
    claims = [make_claim(*claim, id=f"C{i}") for i, claim in enumerate(claims)]
    manifest = make_manifest(list(values), "base", range(3), metrics, claims)
    for arm in manifest["arms"]:
        arm["bound"] = arm["name"] in bound
    trials = [(arm, s, value) for arm in values for s, value in enumerate(values[arm])]
    manifest["trials"] = [{"arm": a, "seed": s, "key": f"{a}@{s}"} for a, s, _ in trials]
    records = {
        f"{arm}@{s}": make_failed(arm, s, "boom")
        if value is None
        else make_record(arm, s, {"kid": value})
        for arm, s, value in trials
    }
    return read_results(manifest, records).verdicts


def test_supported_and_contradicted():
    actual = judged({"base": BASE, "can": CLEAR}, [("can", "base"), ("base", "can")])
    assert [verdict.word for verdict in actual] == ["supported", "contradicted"]
    first, second = (verdict.evidence[0].difference for verdict in actual)
    assert first.mean == pytest.approx(-2) and second.mean == pytest.approx(2)
    assert actual[0].p == pytest.approx(0.000832, abs=1e-6)
    assert actual[0].p_holm == pytest.approx(2 * 0.000832, abs=2e-6)
    half = 4.302653 * 0.1 / 3**0.5
    assert first.low == pytest.approx(-2 - half, abs=1e-6)


def test_direction_follows_the_metric():
    (verdict,) = judged({"base": BASE, "can": CLEAR}, [("can", "base")], higher=True)
    assert verdict.word == "contradicted"


def test_holm_over_the_claims_decides():
    values = {"base": BASE, "a": MARGINAL, "b": MARGINAL}
    (alone,) = judged(values, [("a", "base")])
    assert alone.p == pytest.approx(0.0385, abs=1e-4)
    assert alone.word == "supported"
    both = judged(values, [("a", "base"), ("b", "base")])
    assert [verdict.word for verdict in both] == ["unresolved", "unresolved"]
    assert both[0].evidence[0].difference.high < 0  # its own interval excludes zero


def test_claims_that_were_not_tested_do_not_count_in_holm():
    actual = judged({"base": BASE, "a": MARGINAL}, [("a", "base"), ("gone", "base")])
    assert [verdict.word for verdict in actual] == ["supported", "not tested"]


@pytest.mark.parametrize(
    ("values", "claim", "reason"),
    [
        ({"base": BASE}, ("gone", "base"), "'gone' is not part of this run"),
        ({"base": BASE, "can": [None] * 3}, ("can", "base"), "'can' failed"),
        ({"base": BASE, "can": [9.0, None, None]}, ("can", "base"), "failed at seeds 1, 2"),
        ({"base": [10, None, 12], "can": CLEAR}, ("can", "base"), "'base' failed at seed 1"),
        ({"base": BASE[:1], "can": [9.0]}, ("can", "base"), "needs 2 seeds"),
        ({"base": BASE, "can": CLEAR}, ("can", "base", "clip"), "'clip' is not measured"),
        ({"base": BASE, "can": [8.0, 9.0, 10.0]}, ("can", "base"), "no spread"),
    ],
)
def test_a_claim_that_is_not_tested_says_why(values, claim, reason):
    (verdict,) = judged(values, [claim])
    assert verdict.word == "not tested" and reason in verdict.reason


def test_a_lower_bound_is_not_tested():
    (verdict,) = judged({"base": BASE, "can": CLEAR}, [("can", "base")], bound=("base",))
    assert verdict.word == "not tested" and "lower bound" in verdict.reason


def test_a_verdict_on_fewer_seeds_says_so():
    values = {"base": BASE, "can": [8.0, 9.1]}  # one has not run yet
    claims = [make_claim("can", "base")]
    manifest = make_manifest(list(values), "base", range(3), {"kid": {"label": "KID"}}, claims)
    records = {
        f"{arm}@{s}": make_record(arm, s, {"kid": value})
        for arm, of_arm in values.items()
        for s, value in enumerate(of_arm)
    }
    (verdict,) = read_results(manifest, records).verdicts
    assert verdict.word == "supported" and verdict.reason == "2 of 3 seeds"


def test_equal_arms_are_unresolved():
    (verdict,) = judged({"base": BASE, "can": BASE}, [("can", "base")])
    assert verdict.word == "unresolved"


def test_an_unknown_test_names_its_claim_and_a_near_match(study):
    example = study()
    example.manifest["claims"][0]["test"] = "superiorty"
    results = example.results()
    with pytest.raises(CabenchError, match="C1.*superiorty.*did you mean 'superiority'"):
        _ = results.verdicts


def test_no_claims(study):
    example = study()
    example.manifest["claims"] = []
    assert example.results().verdicts == ()


# ---- several metrics, counts, added claims -----------------------------------------------------

HIGH = [0.50, 0.55, 0.52]


def several(values, claims, costs=None):
    """Verdicts on claims over KID (lower is better) and accuracy (higher is better), by id.

    `values`: {arm: {metric: values by seed}}.
    """
    metrics = {"kid": {"label": "KID"}, "acc": {"label": "acc", "higher_is_better": True}}
    manifest = make_manifest(list(values), "base", range(3), metrics, claims)
    records = {
        f"{arm}@{s}": make_record(
            arm, s, {m: of_seeds[s] for m, of_seeds in scores.items()}, (costs or {}).get(arm)
        )
        for arm, scores in values.items()
        for s in range(3)
    }
    return {verdict.claim.id: verdict for verdict in read_results(manifest, records).verdicts}


def two(kid, acc):
    return {"base": {"kid": BASE, "acc": HIGH}, "can": {"kid": kid, "acc": acc}}


BOTH = make_claim("can", "base", ["kid", "acc"], id="B")


def test_several_metrics_take_the_largest_p():
    acc = [h + d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    verdict = several(two(CLEAR, acc), [BOTH])["B"]
    ps = [stats.ttest_rel(CLEAR, BASE).pvalue, stats.ttest_rel(acc, HIGH).pvalue]
    assert verdict.p == pytest.approx(max(ps)) and verdict.word == "supported"
    assert [part.difference.p for part in verdict.evidence] == pytest.approx(ps)
    assert verdict.evidence[1].better == pytest.approx(sum(acc) / 3)


def test_several_metrics_need_all_of_them():
    worse = [h - d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    vague = [h + d for h, d in zip(HIGH, [0.10, -0.05, 0.02], strict=True)]
    up = [b + d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]
    assert several(two(CLEAR, worse), [BOTH])["B"].word == "unresolved"
    assert several(two(CLEAR, vague), [BOTH])["B"].word == "unresolved"
    assert several(two(up, worse), [BOTH])["B"].word == "contradicted"
    verdict = several(two(CLEAR, HIGH), [BOTH | {"metric": ["kid", "clip"]}])["B"]
    assert verdict.word == "not tested" and "'clip' is not measured" in verdict.reason


def test_several_metrics_enter_holm_once():
    acc = [h + d for h, d in zip(HIGH, [0.10, 0.13, 0.11], strict=True)]
    actual = several(two(CLEAR, acc), [BOTH, make_claim("can", "base", id="K")])
    assert actual["K"].p_holm == pytest.approx(2 * actual["K"].p)
    assert actual["B"].p_holm == pytest.approx(max(2 * actual["K"].p, actual["B"].p))


def cost(macs, params):
    return {
        "macs": {"backbone": macs, "conditioning": 0, "total": macs, "counter": "fvcore"},
        "params": {"backbone": params, "embedder": 0, "methods": 0, "total": params},
    }


COSTS = {"base": cost(1000, 300), "can": cost(1040, 300)}


@pytest.mark.parametrize(
    ("metric", "ratio", "better", "word"),
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
def test_counting_decides(metric, ratio, better, word):
    than = "base" if better == "can" else "can"
    count = make_claim(better, than, metric, id="F", ratio=ratio, test="by_construction")
    tested = make_claim("can", "base", id="T")
    actual = several(two(MARGINAL, HIGH), [count, tested], COSTS)
    assert actual["F"].word == word and math.isnan(actual["F"].p)
    assert actual["T"].p_holm == actual["T"].p  # a count is no test
    assert actual["F"].evidence[0].better == COSTS[better][metric]["total"]


def test_a_claim_about_an_arm_without_counts_is_not_tested():
    count = make_claim("can", "base", "macs", id="F", test="by_construction")
    verdict = several(two(BASE, HIGH), [count], {"base": COSTS["base"]})["F"]
    assert verdict.word == "not tested" and "'can' has no cost" in verdict.reason
    verdict = several(two(BASE, HIGH), [count | {"better": "gone"}], COSTS)["F"]
    assert verdict.word == "not tested" and "'gone' is not part" in verdict.reason


def test_added_claims_are_a_family_of_their_own_and_come_last():
    values = two(MARGINAL, HIGH) | {"mine": {"kid": MARGINAL, "acc": HIGH}}
    own = make_claim("can", "base", id="O")
    added = make_claim("mine", "base", id="A", added=True)
    actual = several(values, [added, own])
    assert list(actual) == ["O", "A"]
    # each alone in its family
    assert [verdict.word for verdict in actual.values()] == ["supported", "supported"]
    together = several(values, [added | {"added": False}, own])
    assert [verdict.word for verdict in together.values()] == ["unresolved", "unresolved"]


def test_every_test_that_a_study_may_name_has_a_judge():
    assert set(get_args(Claim.model_fields["test"].annotation)) == set(TESTS)


def with_twins(values, twin_values):
    """Results of claims about KID, whose twin is kid_trained, and about a metric without twin."""
    metrics = {
        "kid": {"label": "KID", "twin": "kid_trained"},
        "kid_trained": {"label": "KID-trained", "twin": "kid"},
        "loss": {"label": "loss"},
    }
    claims = [
        make_claim("can", "base", ("kid", "loss"), id="C1"),
        make_claim("can", "base", "loss", id="C2"),
    ]
    manifest = make_manifest(list(values), "base", range(3), metrics, claims)
    records = {}
    for arm, s in ((arm, s) for arm in values for s in range(3)):
        scores = {"kid": values[arm][s], "loss": values[arm][s]}
        if twin_values:
            scores["kid_trained"] = twin_values[arm][s]
        records[f"{arm}@{s}"] = make_record(arm, s, scores)
    if not twin_values:
        del manifest["metrics"]["kid_trained"]
    return read_results(manifest, records)


def test_a_claim_is_also_judged_on_other_features():
    values = {"base": BASE, "can": CLEAR}
    results = with_twins(values, {"base": CLEAR, "can": BASE})
    assert results.verdicts[0].word == "supported"
    (twin,) = results.twin_verdicts.values()  # of C1 alone: the loss has no twin
    assert twin.claim.metrics == ("kid_trained", "loss")
    assert twin.word == "unresolved"  # worse in one of both
    assert twin.evidence[0].difference.mean == pytest.approx(2)
    assert disagreement(results) == "Other features disagree on C1 (supported, there unresolved)."
    rows = claim_rows(results)
    assert rows[0].other == "unresolved" and "KID-trained" in rows[0].other_evidence
    assert rows[1].other == ""

    agreeing = with_twins(values, values)
    assert agreeing.twin_verdicts["C1"].word == "supported" and disagreement(agreeing) == ""


def test_without_the_twins_scores_there_is_one_verdict():
    results = with_twins({"base": BASE, "can": CLEAR}, None)
    assert results.twin_verdicts == {} and disagreement(results) == ""
