"""Arms of other backbones, and arms of as many MACs as another."""

import pytest

from cabench.config.study import read_scale, read_study
from cabench.cost.macs import meta_macs
from cabench.errors import CabenchError
from cabench.planning.trials import plan

STUDY = """
study: networks
question: Which?
baseline: dit
arms:
  dit: {methods: [native]}
  other: {methods: [native], %s}
"""


def models(tmp_path, text, scale="smoke"):
    path = tmp_path / "networks.yaml"
    path.write_text(STUDY % text)
    return {n: m.spec for n, m in plan(read_study(path), read_scale(scale), [0]).models.items()}


@pytest.mark.parametrize("network", ["uvit", "cat"])
def test_an_arm_of_another_backbone_is_that_of_a_run_on_it(tmp_path, network):
    other = models(tmp_path, f"network: {network}")["other"]
    path = tmp_path / "own.yaml"
    path.write_text(
        f"study: own\nquestion: W?\nbackbones: [{network}]\nbaseline: a\n"
        "arms: {a: {methods: [native]}}\n"
    )
    assert other == plan(read_study(path), read_scale("smoke"), [0]).models["a"].spec


@pytest.mark.parametrize("network", ["dit", "uvit", "cat"])
@pytest.mark.parametrize("times", [0.5, 2])
def test_macs_are_matched_by_the_width(tmp_path, network, times):
    match = f"{{macs_of: dit, times: {times}, by: width}}"
    both = models(tmp_path, f"network: {network}, match: {match}")
    own, other = (meta_macs(both[name]).total for name in ("dit", "other"))
    assert other == pytest.approx(times * own, rel=0.01)
    sizes = both["other"].backbone.sizes
    width = sizes["width"] if "width" in sizes else max(sizes["widths"])
    assert width < 32 if times < 1 else width > 32 or network == "cat"
    assert both["other"].embedder.width == width  # the condition's, too


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("network: unet", "networks.yaml:7: arms.other.network"),
        ("match: {by: width}", "networks.yaml:7: arms.other.match"),
        ("match: {macs_of: dit, by: rank}", "expected width, got rank"),
        ("match: {params_of: dit, by: width}", "expected rank or ffn_hidden, got width"),
        ("match: {macs_of: did, by: width}", "networks.yaml:7: arms.other.match.macs_of"),
        ("match: {macs_of: dit, times: 1e-4, by: width}", "cannot reach 45 MACs"),
    ],
)
def test_what_can_not_be_matched_is_one_line(tmp_path, text, fault):
    with pytest.raises(CabenchError) as caught:
        models(tmp_path, text)
    assert fault in str(caught.value) and "\n" not in str(caught.value)
