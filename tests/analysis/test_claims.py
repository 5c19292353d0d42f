"""Verdicts on differences whose t and p are known by hand (p = 1 - t / sqrt(2 + t^2) at n = 3)."""

import pytest

from cabench.analysis.claims import judge
from cabench.errors import CabenchError

BASE = [10.0, 11.0, 12.0]
# mean -2, sd .1: t = 34.6, p = .00083
CLEAR = [b - d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]
# mean -2, sd .7: t = 4.949, p = .0385: alone significant, not after Holm over two
MARGINAL = [b - d for b, d in zip(BASE, [1.3, 2.0, 2.7], strict=True)]


def ledger(values, claims, higher=False, bound=()):
    """Judge claims given as (better, than) over arms' values by seed; None is a failed trial."""
    manifest = {
        "study": "s", "question": "?", "scale": "smoke", "baseline": "base", "primary": "kid",
        "arms": [{"name": a, "bound": a in bound} for a in values], "seeds": [0, 1, 2],
        "trials": [
            {"arm": a, "seed": s, "key": f"{a}{s}"} for a in values for s in range(len(values[a]))
        ],
        "metrics": {"kid": {"label": "KID", "higher_is_better": higher}},
        "claims": [
            {"id": f"C{i}", "says": "...", "metric": "kid", "test": "superiority"}
            | dict(zip(("better", "than", "metric"), claim, strict=False))
            for i, claim in enumerate(claims)
        ],
    }  # fmt: skip
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
    assert both.loc[0, "high"] < 0                          # its own interval excludes zero


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
