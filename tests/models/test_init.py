"""Initial values depend on seed, salt and parameter name only, so arms share them."""

import pytest
import torch
from specs import METHODS, model_spec
from torch import nn

from cabench.errors import CabenchError
from cabench.models.init import initialise
from cabench.models.model import build_initialised


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_equal_name_and_shape_are_equal(name):
    base = dict(build_initialised(model_spec(**METHODS["adaln_zero"]), 3).named_parameters())
    ours = dict(build_initialised(model_spec(**METHODS[name]), 3).named_parameters())
    common = [n for n in ours if n in base]
    assert "backbone.blocks.1.ffn.depthwise.weight" in common and len(common) > 20
    assert all(torch.equal(ours[n], base[n]) for n in common)


def test_seed_and_salt_change_random_values():
    spec = model_spec(**METHODS["can-3"])
    draws = [build_initialised(spec, s, salt) for s, salt in [(0, ""), (1, ""), (0, "null")]]
    qkv = [m.backbone.blocks[0].attn.qkv.weight for m in draws]
    assert not torch.equal(qkv[0], qkv[1]) and not torch.equal(qkv[0], qkv[2])


def test_rules_follow_dit():
    model = build_initialised(model_spec(**METHODS["adaln_zero"], preset="S", shape=[4, 32, 32]), 0)
    qkv = model.backbone.blocks[0].attn.qkv.weight
    qkv, bound = qkv.detach(), (6 / (384 + 3 * 384)) ** 0.5  # Xavier, uniform
    assert qkv.abs().max() <= bound and qkv.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    table = model.embedder.categories["label"].table.weight.detach()
    assert table.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.backbone.head.weight.any()
    assert not any(m.weight.any() for m in model.methods["adaln_zero"].maps)


def test_a_parameter_without_a_rule_is_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.mystery = nn.Parameter(torch.zeros(2))

    with pytest.raises(CabenchError, match="'mystery' has no initial value"):
        initialise(Odd(), 0)
