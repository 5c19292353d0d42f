"""Studies and scales as they are read: backbones, arms of the command line, names."""

import pytest
from conftest import TINY_STUDY
from invalid import assert_at, error_of, put

from cabench.config.study import read_scale, read_study, scale_names
from cabench.errors import CabenchError


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
