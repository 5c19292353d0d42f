"""Claims as a study file may state them, and the line that refuses the others."""

import pytest
from conftest import TINY_STUDY
from invalid import assert_at, error_of, put

from cabench.config.study import read_scale, read_study
from cabench.planning.trials import added_claims, plan

CLAIM = "metric: kid, test: superiority"


def with_claim(tiny, text):
    return read_study(put(tiny / "c.yaml", TINY_STUDY.lstrip().replace(CLAIM, text)))


def test_a_claim_over_several_metrics(tiny):
    text = "metric: [kid, condition_accuracy], paper: it is better in both, test: superiority"
    (claim,) = with_claim(tiny, text).study.claims
    assert claim.model_dump()["metric"] == ["kid", "condition_accuracy"]
    assert claim.paper == "it is better in both"
    assert with_claim(tiny, CLAIM).study.claims[0].metric == "kid"


def test_a_claim_by_construction(tiny):
    (claim,) = with_claim(tiny, "metric: macs, test: by_construction, ratio: 1.05").study.claims
    assert (claim.metric, claim.test, claim.ratio) == ("macs", "by_construction", 1.05)


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("metric: kid, test: equivalence", "metric", "margins to have 'kid'"),
        ("metric: kid, test: non_inferiority", "metric", "margins to have 'kid'"),
        ("metric: kid, test: non-inferiority", "test", "got 'non-inferiority'"),
        ("metric: kid, test: difference_of_differences", "test", "relative_to: [B, D]"),
        ("metric: kid, test: superiority, relative_to: [can-3, can-all]", "test", "it alone"),
        ("metric: kid, test: difference_of_differences, relative_to: [can-3]", "relative_to", "2"),
        ("metric: kid, test: superiority, also_than: [can-2]", "also_than", "'can-3'"),
        ("metric: kid, test: superiority, also_than: [can-3]", "than", "with itself"),
        ("metric: macs, test: by_construction, also_than: [can-all]", "also_than", "two arms"),
        ("metric: kid, test: superiorty", "test", "(did you mean 'superiority'?)"),
        ("metric: [kid, fid], test: superiority", "metric", "'fid'"),
        ("metric: [kid, kid], test: superiority", "metric", "'kid' is listed twice"),
        ("metric: [], test: superiority", "metric", ""),
        ("metric: 3, test: superiority", "metric", "got 3"),
        ("metric: macs, test: superiority", "metric", "'macs'"),
        ("metric: kid, test: by_construction", "metric", "allowed: macs, params"),
        ("metric: [macs, params], test: by_construction", "metric", "macs, params"),
        ("metric: kid, test: superiority, ratio: 2", "ratio", ""),
        ("metric: macs, test: by_construction, ratio: 0", "ratio", "got 0"),
        ("metric: kid, test: superiority, added: true", "added", "unknown key"),
        ("metric: kid, test: superiority, repeats: C1", "repeats", "expected STUDY.CLAIM, such as"),
    ],
)
def test_others_are_refused_in_a_line(tiny, text, key, said):
    error = error_of(lambda: plan(with_claim(tiny, text), read_scale("scale.yaml")))
    assert_at(error, tiny / "c.yaml", 9, f"claims.0.{key}")
    assert said in str(error)


def test_the_line_is_that_of_the_claim_on_every_backbone(tiny):
    """Claims about arms of other backbones are left out; the others keep their place."""
    text = TINY_STUDY.lstrip().replace("baseline:", "backbones: [dit, uvit]\nbaseline:", 1)
    text = text.replace("can-3: {", "can-3: {on: [dit], ")
    claim = "id: C2, says: x, better: can-all, than: native+dw, metric: fid, test: superiority"
    text = text.replace("primary: kid", f"  - {{{claim}}}\nprimary: kid")
    study = read_study(put(tiny / "c.yaml", text), backbone="uvit")
    error = error_of(lambda: plan(study, read_scale("scale.yaml")))
    assert_at(error, tiny / "c.yaml", 11, "claims.1.metric")


def test_ids_of_added_arms_are_reserved(tiny):
    arms = [f"{{mine{i}: {{methods: [can]}}}}" for i in range(11)]
    ids = [claim.id for claim in added_claims(read_study(tiny / "tiny.yaml", arms))]
    assert ids == [f"A{i}" for i in range(1, 12)]
    for name in ids:
        path = put(tiny / "c.yaml", TINY_STUDY.lstrip().replace("id: C1", f"id: {name}"))
        assert_at(error_of(lambda path=path: read_study(path)), path, 9, "claims.0.id")
