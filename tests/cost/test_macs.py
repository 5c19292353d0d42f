"""Counts: two counters agree, published figures are met, uncounted operators are refused."""

import pytest
import torch
from specs import METHODS, model_spec

from cabench.cost import macs
from cabench.cost.published import TOLERANCE, published_spec, rows
from cabench.errors import CabenchError


@pytest.mark.parametrize("name", METHODS)
def test_fvcore_equals_flop_counter_mode(name):
    spec = model_spec(**METHODS[name], preset="nano")
    assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


def test_they_agree_on_dit_s2():
    spec = published_spec("S", 32)
    assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


def test_published_models_within_half_a_per_cent():
    found = rows()
    assert [r["model"] for r in found][:4] == ["DiT-S/2", "DiT-B/2", "DiT-L/2", "DiT-XL/2"]
    for row in found:
        assert abs(row["difference"]) < TOLERANCE, row
        assert row["params_M"] == pytest.approx(row["published_params_M"], rel=0.005), row
        assert row["counter"] in ("fvcore", "FlopCounterMode")


def test_can_on_attn_out_by_arithmetic():
    """A generator of width c for a d x d weight adds c * d * d; applying it costs no more."""
    base = macs.fvcore_macs(model_spec([], affine=True, preset="nano"))
    methods = [{"kind": "can", "version": 1,
                "options": {"source": ["timestep", "label"], "sites": ["attn_out"]}}]  # fmt: skip
    can = macs.fvcore_macs(model_spec(methods, affine=True, preset="nano"))
    assert can["backbone"] == base["backbone"]
    embedder = 256 * 64 + 64 * 64  # the timestep's two linear layers
    assert base["generator"] == 0
    assert can["generator"] == 64 * 64 * 64 + embedder


def test_an_operator_without_a_rule_is_refused(monkeypatch):
    from cabench.models.backbones import dit

    monkeypatch.setattr(dit, "residual", lambda x, u, g: x + torch.cumsum(u, 1))
    for count in (macs.fvcore_macs, macs.meta_macs):
        with pytest.raises(CabenchError, match="aten::cumsum"):
            count(model_spec([], affine=True))


def test_a_product_in_disguise_is_refused(monkeypatch):
    """(c * W).sum(-1) is a matrix product that no counter sees."""
    from cabench.models.conditioning import can

    def disguised(self, c):
        return (c[:, None, :] * self.weight).sum(-1).unflatten(1, self.shape)

    monkeypatch.setattr(can.LinearGenerator, "forward", disguised)
    with pytest.raises(CabenchError, match="aten::sum"):
        macs.fvcore_macs(model_spec(**METHODS["can-3"]))
