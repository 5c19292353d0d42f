"""Studies and scales as they are read: backbones, arms of the command line, names."""

import pytest
from cli import cabench
from conftest import TINY_STUDY
from invalid import DRY, assert_at, error_of, put, refused

from cabench.config.study import read_scale, read_study, scale_names
from cabench.errors import CabenchError
from cabench.planning.trials import added_claims, manifest, plan
from cabench.report.methods_section import command


def on_all(tiny, old="", new=""):
    text = TINY_STUDY.lstrip().replace(old, new, 1) if old else TINY_STUDY.lstrip()
    text = text.replace("baseline:", "backbones: [dit, uvit, cat]\nbaseline:", 1)
    return put(tiny / "all.yaml", text)


def test_arms_for_some_backbones_and_their_claims_are_left_out_elsewhere(tiny):
    path = on_all(tiny, "can-3: {", "can-3: {on: [dit, cat], ")
    elsewhere = read_study(path, backbone="uvit")
    assert list(elsewhere.study.arms) == ["native+dw", "can-all"] and not elsewhere.study.claims
    assert list(elsewhere.written.arms) == ["native+dw", "can-3", "can-all"]
    assert len(read_study(path, backbone="cat").study.claims) == 1


def test_backbones_of_arms_are_checked(tiny):
    path = on_all(tiny, "can-3: {", "can-3: {on: [dit, vit], ")
    assert_at(error_of(lambda: read_study(path)), path, 7, "arms.can-3.on.1")
    path = on_all(tiny, "native+dw: {", "native+dw: {on: [dit], ")
    assert_at(error_of(lambda: read_study(path)), path, 6, "arms.native+dw.on")


def test_an_added_arm_that_is_for_another_backbone_is_refused(tiny):
    path, arm = on_all(tiny), "{mine: {methods: [can], on: [dit]}}"
    assert list(read_study(path, [arm]).added) == ["mine"]
    error = error_of(lambda: read_study(path, [arm], backbone="uvit"))
    assert_at(error, "--arm", None, "arms.mine.on")


def test_the_backbone_of_a_run_is_one_of_the_study(tiny):
    with pytest.raises(CabenchError, match=r"--backbone: unknown .* 'vit'.*dit"):
        read_study(on_all(tiny), backbone="vit")


def test_a_name_of_an_arm_may_have_dots(tiny):
    path = put(tiny / "dots.yaml", TINY_STUDY.replace("can-3", "can-3.5"))
    assert "can-3.5" in read_study(path).study.arms


@pytest.mark.parametrize("scale", scale_names())
def test_every_scale_reads(scale):
    assert read_scale(scale).scale.scale == scale


def test_models_are_frozen(tiny):
    study = read_study(tiny / "tiny.yaml").study
    with pytest.raises(ValueError, match="frozen"):
        study.baseline = "can-3"


MINE = "{mine: {methods: [can]}}"


def test_an_added_arm_is_compared_with_the_baseline_or_another_arm(tiny):
    for against, than in ((None, "native+dw"), ("can-all", "can-all")):
        planned = plan(read_study(tiny / "tiny.yaml", [MINE], against=against), read_scale("smoke"))
        (claim,) = added_claims(planned.file)
        assert (claim.id, claim.says, claim.better) == ("A1", f"mine beats {than}", "mine")
        assert claim.than == than and than in planned.arms  # also one that is marked extra
        assert ("--against can-all" in command(manifest(planned))) is (against is not None)
    assert "can-all" not in plan(read_study(tiny / "tiny.yaml"), read_scale("smoke")).arms


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--against", "can-3"), "--against: expected with --arm only"),
        (("--arm", MINE, "--against", "can3"), "arm of the study 'can3' (did you mean 'can-3'?)"),
        (("--arm", MINE, "--against", "mine"), "unknown arm of the study 'mine'; allowed: native"),
        (("--arm", MINE, "--against", "can-3", "--scale", "sca"), "--scale: unknown scale 'sca'"),
    ],
)  # fmt: skip
def test_arms_that_an_added_one_cannot_be_compared_with(tiny, words, said):
    assert said in refused(*DRY, *words)


def test_no_arm_is_compared_with_a_lower_bound(tiny):
    text = TINY_STUDY.replace("{sites: all}}], extra: true", "{sites: all}}], bound: true")
    put(tiny / "tiny.yaml", text)
    said = refused(*DRY, "--arm", MINE, "--against", "can-all")
    assert said == "--against: 'can-all' is a lower bound, which has no verdict"


def test_the_dry_run_says_what_added_arms_are_compared_with(tiny):
    code, out, err = cabench(*DRY, "--arm", MINE, "--against", "can-3")
    assert (code, err) == (0, "") and "added claims: A1: mine beats can-3" in out
