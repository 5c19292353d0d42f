"""Errors in studies and scales: one line that names file, line and key."""

import os

import pytest
from conftest import TINY_SCALE, TINY_STUDY
from invalid import DRY, SCALES, STUDIES, assert_at, edited, error_of, put, refused

from cabench.config.study import read_scale, read_study
from cabench.errors import CabenchError
from cabench.planning.trials import plan


@pytest.mark.parametrize("case", STUDIES)
def test_invalid_studies(tiny, case):
    path = put(tiny / "study.yaml", edited(TINY_STUDY.lstrip(), STUDIES[case]))
    error = error_of(lambda: plan(read_study(path), read_scale("scale.yaml"), all_arms=True))
    assert_at(error, path, STUDIES[case].line, STUDIES[case].key)
    assert error.document == "study"


@pytest.mark.parametrize("case", SCALES)
def test_invalid_scales(tiny, case):
    put(tiny / "scale.yaml", edited(TINY_SCALE.lstrip(), SCALES[case]))
    error = error_of(lambda: plan(read_study(tiny / "tiny.yaml"), read_scale("scale.yaml")))
    assert_at(error, "scale.yaml", SCALES[case].line, SCALES[case].key)
    assert error.document == "scale"


WORDING = {  # one message of each family
    "unknown key": "unknown key (did you mean 'baseline'?); allowed: study, kind, ",
    "missing key": "this key is missing",
    "baseline": "no arm 'nativ+dw' (did you mean 'native+dw'?); arms: native+dw, can-3, can-all",
    "method": "unknown method 'nativ' (did you mean 'native'?); allowed: native, adaln, ",
    "site": "got 'patch_embd' (did you mean 'patch_embed'?)",
    "no site": "expected a list of at least 1 item, got an empty list",
    "duplicate key": "not valid YAML: duplicate key 'baseline'",
    "dot": "(no dot: a run's folder is STUDY.SCALE), got 'ti.ny'",
}


@pytest.mark.parametrize("case", WORDING)
def test_wording(tiny, case):
    path = put(tiny / "study.yaml", edited(TINY_STUDY.lstrip(), STUDIES[case]))
    error = error_of(lambda: plan(read_study(path), read_scale("scale.yaml"), all_arms=True))
    assert WORDING[case] in str(error)


def test_wording_of_numbers(tiny):
    put(tiny / "scale.yaml", edited(TINY_SCALE.lstrip(), SCALES["steps"]))
    error = error_of(lambda: read_scale("scale.yaml"))
    assert error.text == "expected a number less than or equal to 1000, got 1001"


def test_an_arm_of_the_command_line_is_named_by_its_option(tiny):
    study = read_study(tiny / "tiny.yaml", ["{mine: {methods: [cna]}}"])
    error = error_of(lambda: plan(study, read_scale("scale.yaml")))
    assert_at(error, "--arm", None, "arms.mine.methods.0")


# fmt: off
TUNE = {  # parts of `tune` -> key of the error
    "range: [2, 1]": "tune",
    "range: [1, 1]": "tune",
    "range: [0, 1]": "tune.range.0",
    "range: [.1, .inf]": "tune.range.1",
    "range: [.1]": "tune.range.1",
    "range: [.1, 1, 2]": "tune.range",
    "range: .1": "tune.range",
    "range: [a, b]": "tune.range.0",
    "range: [.1, 10], start: [100]": "tune",
    "range: [.1, 10], start: []": "tune.start",
    "range: [.1, 10], start: [1, 2, 3]": "tune",
    "range: [.1, 10], seed: true": "tune.seed",
    "range: [.1, 10], sed: 1": "tune.sed",
}
# fmt: on


@pytest.mark.parametrize("part", TUNE)
def test_invalid_searches(tiny, part):
    search = f"tune: {{trials: 2, budget: 0.5, {part}}}\n"
    path = put(tiny / "tuned.yaml", TINY_STUDY.lstrip() + search)
    assert_at(error_of(lambda: read_study(path)), path, 11, TUNE[part])


def test_a_search_needs_a_seed_that_no_trial_uses(tiny):
    search = "tune: {trials: 2, budget: 1, range: [1, 2], seed: 1}\n"
    put(tiny / "tuned.yaml", TINY_STUDY.lstrip() + search)
    assert refused("run", "tuned.yaml", *DRY[2:]).startswith("tuned.yaml:11: tune.seed: ")


def test_missing_files_name_the_nearest_match(tiny):
    with pytest.raises(CabenchError, match="no study file 'tin.yaml'.*tiny.yaml"):
        read_study((tiny / "tin.yaml").relative_to(tiny))
    with pytest.raises(CabenchError, match="unknown scale 'quik' .did you mean 'quick'"):
        read_scale("quik")


def test_a_pipe_is_no_study_and_no_scale(tiny):
    os.mkfifo(tiny / "pipe.yaml")
    for read in (lambda: read_study(tiny / "pipe.yaml"), lambda: read_scale("pipe.yaml")):
        with pytest.raises(CabenchError, match="pipe.yaml': it is neither a file nor a directory"):
            read()
    with pytest.raises(CabenchError, match="no study file 'pip.yaml'.*files here: scale.yaml, tin"):
        read_study((tiny / "pip.yaml").relative_to(tiny))
