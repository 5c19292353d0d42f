"""Counts: two counters agree, published figures are met, uncounted operators are refused."""

import pytest
import torch
from specs import METHODS, ON, ONE_STREAM, method, model_spec, some

from cabench.cost import macs
from cabench.cost.published import MODELS, published_spec, ratios, row, rows
from cabench.errors import CabenchError

STANDARD = [("dit", name) for name in METHODS] + [("uvit", "can-3"), ("cat", "can-3")]


@pytest.mark.slow
@pytest.mark.parametrize("model", some(ON, STANDARD), ids="-".join)
def test_fvcore_equals_flop_counter_mode(model):
    backbone, name = model
    spec = model_spec(**METHODS[name], preset="nano", backbone=backbone)
    assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


@pytest.mark.parametrize("case", ONE_STREAM)
def test_counters_agree_where_a_stream_is_unused(case):
    spec = model_spec(**ONE_STREAM[case], preset="nano")
    assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


@pytest.mark.slow
def test_counters_agree_on_published_models():
    for model in (MODELS[0], next(m for m in MODELS if m.text)):
        spec = published_spec(model)
        assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


def assert_as_published(counts):
    """Within half a per cent; CaT, which is built to a budget of MACs, within one."""
    cat = counts["model"].startswith("CaT")
    assert abs(counts["difference"]) < (0.01 if cat else 0.005), counts
    if counts["published_params_M"] is not None:
        assert counts["params_M"] == pytest.approx(counts["published_params_M"], rel=0.005), counts


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in MODELS if m.preset == "S"], ids=lambda m: m.name)
def test_small_published_models(model):
    assert_as_published(row(model))


@pytest.mark.full
def test_all_published_models_and_ratios():
    counts_of_models = rows()
    assert len(counts_of_models) == 24
    for counts in counts_of_models:
        assert_as_published(counts)
    for ratio in ratios(counts_of_models):
        assert ratio["ours"] == pytest.approx(ratio["paper"], rel=0.011), ratio


def test_nanos_cost_the_same():
    """Each backbone with its native method on the images of `quick`, within 3 %."""
    counts = []
    for backbone, native in (("dit", "adaln_zero"), ("uvit", "tokens"), ("cat", "adaln")):
        spec = model_spec(
            [method(native)],
            preset="nano",
            backbone=backbone,
            depthwise=False,
            affine=native == "tokens",
            shape=[1, 16, 16],
            patch=4,
        )
        counts.append(macs.fvcore_macs(spec).total)
    assert max(counts) < 1.03 * min(counts), counts


def test_can_on_attn_out_by_arithmetic():
    """A generator of width c for a d x d weight adds c * d * d; applying it costs no more."""
    base = macs.fvcore_macs(model_spec([], affine=True, preset="nano"))
    methods = [
        {
            "kind": "can",
            "version": 1,
            "options": {"source": ["timestep", "label"], "sites": ["attn_out"]},
        }
    ]
    can = macs.fvcore_macs(model_spec(methods, affine=True, preset="nano"))
    assert can.backbone == base.backbone
    embedder = 256 * 64 + 64 * 64  # the timestep's two linear layers
    assert base.conditioning == 0
    assert can.conditioning == 64 * 64 * 64 + embedder


def test_an_operator_without_a_rule_is_refused(monkeypatch):
    from cabench.models.backbones import dit

    monkeypatch.setattr(dit, "residual", lambda x, u, g: x + torch.cumsum(u, 1))
    for count in (macs.fvcore_macs, macs.meta_macs):
        with pytest.raises(CabenchError, match="aten::cumsum"):
            count(model_spec([], affine=True))


def test_a_product_in_disguise_is_refused(monkeypatch):
    """(c * W).sum(-1) is a matrix product that no counter sees."""
    from cabench.models.conditioning import generators

    def disguised(self, c):
        return (c[:, None, :] * self.weight).sum(-1).unflatten(1, self.shape)

    monkeypatch.setattr(generators.Linear, "forward", disguised)
    with pytest.raises(CabenchError, match="aten::sum"):
        macs.fvcore_macs(model_spec(**METHODS["can-3"]))
