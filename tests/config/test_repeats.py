"""Claims that repeat one of another study: which are accepted, and the line that refuses others."""

import pytest
from conftest import TINY_STUDY
from invalid import assert_at, error_of, put

from cabench.config.study import read_study

CLAIM = "metric: kid, test: superiority"
HOME = TINY_STUDY.lstrip().replace("study: tiny", "study: home")


def repeating(tiny, repeats, claim=CLAIM):
    """The study tiny, of which the claim C1 repeats another."""
    text = TINY_STUDY.lstrip().replace(CLAIM, f"{claim}, repeats: {repeats}")
    return put(tiny / "tiny.yaml", text)


@pytest.mark.parametrize(
    ("repeats", "said"),
    [
        ("control_method.C5", "unknown study with claims 'control_method' (did you mean"),
        ("control_methods.C55", "'control_methods.C55' (did you mean 'control_methods.C5'?)"),
        ("cost.C8", "unknown study with claims 'cost'"),  # of another kind
        ("tiny.C1", "expected a claim of another study"),
    ],
)
def test_an_unknown_claim_or_one_of_the_same_study_is_refused(tiny, repeats, said):
    path = repeating(tiny, repeats)
    error = error_of(lambda: read_study(path))
    assert_at(error, path, 9, "claims.0.repeats")
    assert said in str(error)


@pytest.mark.parametrize(
    ("claim", "key", "said"),
    [
        ("metric: fid, test: superiority", "metric", "expected kid as in 'home.C1', got fid"),
        ("metric: [fid, kid], test: superiority", "metric", "expected kid as in"),
        (
            f"{CLAIM}, also_than: [can-all]",
            "also_than",
            "expected none as in 'home.C1', got can-all",
        ),
        ("metric: kid, test: equivalence", "test", "expected superiority as in"),
    ],
)
def test_another_statement_is_refused(tiny, claim, key, said):
    put(tiny / "home.yaml", HOME)
    path = repeating(tiny, "home.C1", claim)
    path.write_text(path.read_text() + "margins: {kid: 0.1}\n")
    error = error_of(lambda: read_study(path))
    assert_at(error, path, 9, f"claims.0.{key}")
    assert said in str(error)


def test_the_other_study_is_beside_it_by_its_own_name(tiny, monkeypatch):
    put(tiny / "any_name.yml", HOME)
    put(tiny / "broken.yaml", "study: [")
    path = repeating(tiny, "home.C1")
    monkeypatch.chdir("/")
    assert read_study(path).study.claims[0].repeats == "home.C1"


def test_a_study_beside_it_that_cannot_be_read_is_named(tiny):
    path = repeating(tiny, "home.C1")
    for text, line in (("study: [", 1), (HOME.replace("baseline:", "basline:"), 3)):
        other = put(tiny / "home.yaml", text)
        error = error_of(lambda: read_study(path))
        assert str(error).startswith(f"{other}:{line}:")
