"""`--seeds`: numbers, lists and ranges of seeds, and how they are put in words."""

import pytest
from cli import cabench
from conftest import TINY_STUDY
from invalid import DRY, put, refused

from cabench.config.seeds import parse_seeds, seeds_text, understood
from cabench.errors import CabenchError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("1000", list(range(1000))),
        ("1000,", [1000]),
        ("1000-1002", [1000, 1001, 1002]),
        ("7-7", [7]),
        ("0-2, 9, 4-5", [0, 1, 2, 9, 4, 5]),
        ("7,0", [7, 0]),
    ],
)
def test_numbers_lists_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


OTHERS = ["", ",", "0", "1001", "-1", "-", "3-", "5-3", "0-1000", "1,1", "0-2,1", "1-2-3"]
OTHERS += ["99999-100001", "x", "1.5", "1e3", "+5", "\u0663", "0-99999," * 99]


@pytest.mark.parametrize("text", OTHERS)
def test_others_are_refused(text):
    with pytest.raises(CabenchError, match="^--seeds: expected "):
        parse_seeds(text)


def test_a_number_that_is_too_large_may_be_a_seed():
    with pytest.raises(CabenchError, match="for the single seed 2000 write '2000,'$"):
        parse_seeds("2000")


def test_in_words():
    assert seeds_text([7]) == "seed 7"
    assert seeds_text([0, 1, 2]) == "seeds 0, 1, 2"
    assert seeds_text([9, 0, 1, 2, 3, 7]) == "seeds 9, 0 to 3, 7"
    assert understood("1000") == (
        "--seeds 1000: seeds 0 to 999 (1,000 seeds); for the single seed 1000 write '1000,'"
    )
    assert understood("1") == "--seeds 1: seed 0 (1 seed); for the single seed 1 write '1,'"
    assert understood("1000,") == "--seeds 1000,: seed 1000 (1 seed)"
    assert understood("5-8") == "--seeds 5-8: seeds 5 to 8 (4 seeds)"


TUNED = TINY_STUDY.lstrip() + "tune: {trials: 2, budget: 1, range: [1, 2], seed: 999}\n"


def test_a_number_that_covers_the_seed_of_the_search(tiny):
    put(tiny / "tuned.yaml", TUNED)
    words = ("run", "tuned.yaml", *DRY[2:], "--seeds", "1000")
    assert refused(*words, planned=understood("1000") + "\n") == (
        "tuned.yaml:11: tune.seed: expected a seed that no trial uses, got 999: trials use "
        "seeds 0 to 999"
    )


@pytest.mark.parametrize("text", ["4", "1000-1003", "1000,"])
def test_the_dry_run_says_how_they_are_understood(tiny, text):
    code, out, err = cabench(*DRY, "--seeds", text)
    assert (code, err) == (0, "")
    assert out.startswith(understood(text) + "\n")
    assert f" trials: {seeds_text(parse_seeds(text))}; " in out


def test_a_dry_run_without_seeds_says_nothing(tiny):
    assert "--seeds" not in cabench(*DRY).out
