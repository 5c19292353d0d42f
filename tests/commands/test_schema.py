"""The exported JSON schemas: what is sound fits them, what is wrong in itself doesn't."""

import json
import sys

import jsonschema
import pytest
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from mutations import load
from specs import ROOT, write
from test_bad_input import refused
from test_study import WRONG, WRONG_SCALES

from cabench.config.cost_study import kind_of
from cabench.config.schema import Scale, Study
from cabench.config.study import scale_names
from cabench.registry import METHODS

# wrong in themselves; the others need the study's other parts, or the data
STRUCTURAL = (
    "unknown key",
    "missing",
    "method",
    "option",
    "site",
    "claim's test",
    "no site",
    "arm's name",
    "a dot",
    "backbone",
)
STRUCTURAL_SCALES = ("a dot", "steps", "an option", "a truth", "preset")


def exported(kind: str, *words: str) -> jsonschema.Draft202012Validator:
    code, out, err = cabench("schema", kind, *words)
    assert code == 0, err
    made = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def faults(validator, text: str) -> list[str]:
    return [error.message for error in validator.iter_errors(load(text))]


def test_committed_cost_studies_fit_theirs():
    validator = exported("cost")
    for name in ("cost", "kernel_fusion", "throughput"):
        text = (ROOT / "studies" / f"{name}.yaml").read_text()
        assert faults(validator, text) == []
        assert faults(validator, text.replace("arms:", "armz:", 1))


def test_sound_files_fit():
    studies = [p for p in (ROOT / "studies").glob("*.yaml") if kind_of(p) == "train"]
    validator = exported("study")
    assert studies
    for path in studies:
        assert faults(validator, path.read_text()) == [], path
    assert faults(validator, TINY_STUDY) == []
    assert faults(validator, TINY_STUDY.replace("can-3", "can-3.5")) == []  # an arm's name
    validator = exported("scale")
    for name in scale_names():
        text = (ROOT / "cabench" / "config" / "scales" / f"{name}.yaml").read_text()
        assert faults(validator, text) == [], name
    assert faults(validator, TINY_SCALE) == []


@pytest.mark.parametrize("case", STRUCTURAL)
def test_wrong_studies_do_not(case):
    old, new, _ = WRONG[case]
    assert old in TINY_STUDY
    assert faults(exported("study"), TINY_STUDY.replace(old, new))


@pytest.mark.parametrize("case", STRUCTURAL_SCALES)
def test_wrong_scales_do_not(case):
    old, new, _ = WRONG_SCALES[case]
    assert old in TINY_SCALE
    assert faults(exported("scale"), TINY_SCALE.replace(old, new))


WRONG_KINDS = {
    "a text for a number": ("trials: 8", "trials: '8'"),
    "rank": ("{sites: all}", "{rank: 0}"),
    "a claim's metric": ("metric: kid", "metric: fid"),
    "a claim's metrics": ("metric: kid", "metric: [kid, fid]"),
    "a metric": ("baseline:", "primary: fid\nbaseline:"),
    "two methods in one": ("[{can: {sites: all}}]", "[{can: {sites: all}, adaln_zero: {}}]"),
    "no arms": (TINY_STUDY[TINY_STUDY.index("arms:") :], "arms: {}\n"),
}


@pytest.mark.parametrize("case", WRONG_KINDS)
def test_values_of_a_wrong_kind_do_not(case):
    old, new = WRONG_KINDS[case]
    text = TINY_STUDY + "tune: {trials: 8, budget: 0.2, range: [0.1, 10]}\n"
    assert old in text and faults(exported("study"), text) == []
    assert faults(exported("study"), text.replace(old, new))


def test_fields_are_described_and_names_spelt_out():
    made = exported("study").schema
    arm = made["$defs"]["Arm"]["properties"]
    assert arm["bound"]["description"] == "a bound, printed without a verdict"
    can = made["$defs"]["can_options"]["properties"]
    assert can["rank"]["description"] == "of a bottleneck; hidden width of an mlp"
    assert set(made["properties"]) == set(Study.model_fields)
    assert set(exported("scale").schema["properties"]) == set(Scale.model_fields)


PLUGIN = """
from cabench.models.conditioning.base import Method, MethodOptions
from cabench.registry import METHODS

class Options(MethodOptions):
    strength: float = 1.0

@METHODS.register("mine")
class Mine(Method):
    '''A method of one's own.'''

    Options = Options
"""


def test_a_plugins_method_is_known(tmp_path):
    path = write(tmp_path / "mine_for_editors.py", PLUGIN)
    text = TINY_STUDY.replace("can: {sites: all}", "mine: {strength: 2}")
    assert text != TINY_STUDY and faults(exported("study"), text)
    try:
        validator = exported("study", "--plugin", str(path))
    finally:
        METHODS.forget("cabench_plugin_mine_for_editors")
        del sys.modules["cabench_plugin_mine_for_editors"]
    assert faults(validator, text) == []
    assert faults(validator, text.replace("strength", "strenght"))


def test_what_can_not_be_exported():
    said = refused("schema", "stduy")
    assert said.startswith("KIND: unknown kind of file 'stduy' (did you mean 'study'?)")
    assert refused("schema").startswith("KIND is missing")
