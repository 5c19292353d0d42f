"""The exported JSON schemas: valid files match them, structurally invalid ones do not."""

import json
import sys

import jsonschema
import pytest
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from invalid import SCALES, STUDIES, edited, refused
from mutations import load
from specs import ROOT, write

from cabench.config.cost_study import kind_of
from cabench.config.scale import Scale
from cabench.config.schema import Study
from cabench.config.study import scale_names
from cabench.registry import METHODS

# A schema finds these; the others need the study's other parts, or the data.
STRUCTURAL = (
    "unknown key",
    "missing key",
    "method",
    "option",
    "site",
    "claim's test",
    "no site",
    "arm's name",
    "dot",
    "backbone",
)
STRUCTURAL_SCALES = ("dot", "steps", "option", "boolean", "preset", "unknown metric")


def exported(kind: str, *words: str) -> jsonschema.Draft202012Validator:
    code, out, err = cabench("schema", kind, *words)
    assert code == 0, err
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def errors(validator, text: str) -> list[str]:
    return [error.message for error in validator.iter_errors(load(text))]


def test_committed_cost_studies_fit_theirs():
    validator = exported("cost")
    for name in ("cost", "kernel_fusion", "throughput"):
        text = (ROOT / "studies" / f"{name}.yaml").read_text()
        assert errors(validator, text) == []
        assert errors(validator, text.replace("arms:", "armz:", 1))


def test_valid_files_fit():
    studies = [p for p in (ROOT / "studies").glob("*.yaml") if kind_of(p) == "train"]
    validator = exported("study")
    assert studies
    for path in studies:
        assert errors(validator, path.read_text()) == [], path
    assert errors(validator, TINY_STUDY) == []
    assert errors(validator, TINY_STUDY.replace("can-3", "can-3.5")) == []  # an arm's name
    validator = exported("scale")
    for name in scale_names():
        text = (ROOT / "cabench" / "config" / "scales" / f"{name}.yaml").read_text()
        assert errors(validator, text) == [], name
    assert errors(validator, TINY_SCALE) == []


@pytest.mark.parametrize("case", STRUCTURAL)
def test_invalid_studies_do_not(case):
    assert errors(exported("study"), edited(TINY_STUDY, STUDIES[case]))


@pytest.mark.parametrize("case", STRUCTURAL_SCALES)
def test_invalid_scales_do_not(case):
    assert errors(exported("scale"), edited(TINY_SCALE, SCALES[case]))


WRONG_TYPES = {
    "text for a number": ("trials: 8", "trials: '8'"),
    "rank": ("{sites: all}", "{rank: 0}"),
    "a claim's metric": ("metric: kid", "metric: fid"),
    "a claim's metrics": ("metric: kid", "metric: [kid, fid]"),
    "a metric": ("primary: kid", "primary: fid"),
    "two methods in one": ("[{can: {sites: all}}]", "[{can: {sites: all}, adaln_zero: {}}]"),
    "no arms": (TINY_STUDY[TINY_STUDY.index("arms:") :], "arms: {}\n"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_values_of_a_wrong_type_do_not(case):
    old, new = WRONG_TYPES[case]
    text = TINY_STUDY + "tune: {trials: 8, budget: 0.2, range: [0.1, 10]}\n"
    assert old in text and errors(exported("study"), text) == []
    assert errors(exported("study"), text.replace(old, new))


def test_every_field_is_described():
    schema = exported("study").schema
    arm = schema["$defs"]["Arm"]["properties"]
    assert arm["bound"]["description"] == "a lower bound, printed without a verdict"
    can = schema["$defs"]["can_options"]["properties"]
    assert can["rank"]["description"].startswith("of a bottleneck; hidden width of an mlp")
    assert set(schema["properties"]) == set(Study.model_fields)
    assert set(exported("scale").schema["properties"]) == set(Scale.model_fields)


PLUGIN = """
from cabench.models.conditioning.base import Method, MethodOptions
from cabench.registry import METHODS

class Options(MethodOptions):
    strength: float = 1.0

@METHODS.register("mine")
class Mine(Method):
    '''Add nothing to the backbone.'''

    Options = Options
"""


def test_a_plugins_method_is_known(tmp_path):
    path = write(tmp_path / "mine_for_editors.py", PLUGIN)
    text = TINY_STUDY.replace("can: {sites: all}", "mine: {strength: 2}")
    assert text != TINY_STUDY and errors(exported("study"), text)
    try:
        validator = exported("study", "--plugin", str(path))
    finally:
        METHODS.forget("cabench_plugin_mine_for_editors")
        del sys.modules["cabench_plugin_mine_for_editors"]
    assert errors(validator, text) == []
    assert errors(validator, text.replace("strength", "strenght"))


def test_other_kinds_are_refused():
    text = refused("schema", "stduy")
    assert text.startswith("KIND: unknown kind of file 'stduy' (did you mean 'study'?)")
    assert refused("schema").startswith("KIND is missing")


GRIDS = {
    "{can.rank: [2], backbone.depthwise_at: [before], embedder: [raw]}": True,
    "{can.rnk: [2]}": False,
    "{embeder: [raw]}": False,
    "{can.rank: 2}": False,
    "{can.rank: []}": False,
}


@pytest.mark.parametrize("grid", GRIDS)
def test_keys_of_a_grid(grid):
    text = TINY_STUDY.replace("extra: true}", f"grid: {grid}}}")
    assert text != TINY_STUDY and (errors(exported("study"), text) == []) is GRIDS[grid]


EXTENDING = "scale: mine\nextends: quick\n"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (EXTENDING, True),
        (EXTENDING + "training: {lr: 1.0e-3}\nbackbones: {dit: {patch: 2}}\n", True),
        (EXTENDING + "sampling: {sweep: {seeds: 2}}\nclip: {template: 'a {}'}\n", True),
        (EXTENDING + "data: [{streams: [label], source: digits}]\n", True),
        (EXTENDING + "data: [{streams: [label]}]\n", False),  # lists are not merged
        (EXTENDING + "training: {lrr: 1.0e-3}\n", False),
        (EXTENDING + "training: {lr: fast}\n", False),
        ("extends: quick\n", False),  # without a name of its own
        ("scale: mine\nextends: 3\n", False),
        (TINY_SCALE.replace("patch: 4", ""), False),
        (TINY_SCALE.replace("lr: 2.0e-3, ", ""), False),
    ],
)
def test_a_scale_that_extends_another_may_be_partial(text, fits):
    assert (errors(exported("scale"), text) == []) is fits
