"""Claims as a study file may state them, and the line that refuses the others."""

import pytest
from specs import write

from cabench.config.study import read_study
from cabench.errors import CabenchError
from cabench.planning.trials import added_claims

CLAIM = "metric: kid, test: superiority"


def claims(tiny, text):
    write(tiny / "c.yaml", (tiny / "tiny.yaml").read_text().replace(CLAIM, text))
    return read_study(tiny / "c.yaml").study.claims


def test_a_claim_over_several_metrics(tiny):
    text = "metric: [kid, condition_accuracy], paper: it is better in both, test: superiority"
    (claim,) = claims(tiny, text)
    assert claim.model_dump()["metric"] == ["kid", "condition_accuracy"]
    assert claim.paper == "it is better in both" and claims(tiny, CLAIM)[0].metric == "kid"


def test_a_claim_by_construction(tiny):
    (claim,) = claims(tiny, "metric: macs, test: by_construction, ratio: 1.05")
    assert (claim.metric, claim.test, claim.ratio) == ("macs", "by_construction", 1.05)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "metric: kid, test: equivalence",
            "test: this test doesn't exist yet; allowed: "
            "'superiority' or 'by_construction'; found 'equivalence'",
        ),
        ("metric: kid, test: non-inferiority", "doesn't exist yet.*found 'non-inferiority'"),
        ("metric: kid, test: difference_of_differences", "doesn't exist yet"),
        ("metric: kid, test: superiorty", "found 'superiorty' .did you mean 'superiority'"),
        ("metric: [kid, fid], test: superiority", "metric: unknown metric 'fid'"),
        ("metric: [kid, kid], test: superiority", "metric: 'kid' stands there twice"),
        ("metric: [], test: superiority", "metric: the name of a metric, or a list"),
        ("metric: 3, test: superiority", "metric: the name of a metric.*found 3"),
        ("metric: macs, test: superiority", "metric: unknown metric 'macs'"),
        ("metric: kid, test: by_construction", "unknown count 'kid'; allowed: macs, params"),
        ("metric: [macs, params], test: by_construction", "takes one of macs, params"),
        ("metric: kid, test: superiority, ratio: 2", "ratio: only test by_construction"),
        ("metric: macs, test: by_construction, ratio: 0", "ratio: .*greater than 0; found 0"),
        ("metric: kid, test: superiority, added: true", "added: unknown key"),
    ],
)
def test_others_are_refused_in_a_line(tiny, text, line):
    with pytest.raises(CabenchError, match=rf"c\.yaml:\d+: claims\.0\..*{line}") as caught:
        claims(tiny, text)
    assert str(caught.value).count("\n") == 0


def test_ids_of_added_arms_are_kept_for_them(tiny):
    """Whatever id the command line gives to an arm of its own, no study can have it, too."""
    arms = [f"{{mine{i}: {{methods: [can]}}}}" for i in range(11)]
    made = [claim["id"] for claim in added_claims(read_study(tiny / "tiny.yaml", arms))]
    assert made == [f"A{i}" for i in range(1, 12)]
    for taken in made:
        write(tiny / "c.yaml", (tiny / "tiny.yaml").read_text().replace("id: C1", f"id: {taken}"))
        with pytest.raises(CabenchError, match=f"claims.0.id: '{taken}' is kept for an arm"):
            read_study(tiny / "c.yaml")
