"""Where the claims stand while trials finish."""

import pytest
from example_study import make_study

from cabench.execution.interim import Interim

ARMS = ["native", "native+dw", "native+can-3"]


def test_a_claim_is_named_when_both_arms_have_a_seed():
    results = make_study(ARMS, seeds=2).results()
    interim = Interim(results.manifest)
    ours, base = (
        [r for r in results.records.values() if r.key.startswith(f"{arm}@")]
        for arm in ("native+can-3", "native+dw")
    )
    assert interim.add(ours[0].key, ours[0].metrics) == ""  # its rival has no seed yet
    assert interim.add(base[1].key, base[1].metrics) == ""  # another seed
    d = [1000 * (a.metrics["kid"] - b.metrics["kid"]) for a, b in zip(ours, base, strict=True)]
    text = interim.add(base[0].key, base[0].metrics)
    assert text.startswith("so far in KID x10^3 @2000 ↓: C1 native+can-3 - native+dw ")
    assert text.endswith(f"{d[0]:+.3g}, n = 1")
    text = interim.add(ours[1].key, ours[1].metrics)
    assert f"{(d[0] + d[1]) / 2:+.3g}, n = 2" in text


def test_trials_that_were_done_before_count():
    results = make_study(ARMS, seeds=2).results()
    done = [r for r in results.records.values() if r.key != "native+can-3@1"]
    interim = Interim(results.manifest, done)
    last = results.records["native+can-3@1"]
    assert "n = 2" in interim.add(last.key, last.metrics)


def test_every_rival_of_a_claim_is_named_and_differences_of_differences_are_not():
    results = make_study(ARMS, seeds=1).results()
    rivals = results.manifest.claims[0].model_copy(update={"also_than": ("native",)})
    double = rivals.model_copy(update={"id": "D", "relative_to": ("native", "native")})
    manifest = results.manifest.model_copy(update={"claims": (rivals, double)})
    *before, last = (results.records[f"{arm}@0"] for arm in ARMS)
    text = Interim(manifest, before).add(last.key, last.metrics)
    assert "native+can-3 - native+dw " in text and "native+can-3 - native " in text
    assert " D native" not in text


@pytest.mark.parametrize(
    ("key", "scores"),
    [("elsewhere", {"kid": 1.0}), ("native@0", {}), ("native+dw@0", {"kid": float("nan")})],
)
def test_what_no_claim_is_about_says_nothing(key, scores):
    results = make_study(ARMS, seeds=2).results()
    ours = [r for r in results.records.values() if r.key.startswith("native+can-3")]
    assert Interim(results.manifest, ours).add(key, scores) == ""
