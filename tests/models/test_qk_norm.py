"""QK-norm: an option of DiT and of U-ViT."""

import pytest
import torch
from specs import METHODS, model_spec
from torch import nn

from cabench.cost.macs import fvcore_macs
from cabench.models.backbones import dit, uvit
from cabench.models.model import build_initialised
from cabench.models.operations import Conditioning
from cabench.registry import BACKBONES

ATTENTION = {
    "dit": lambda: dit.Attention(32, 4, True),
    "uvit": lambda: uvit.Attention(32, 4, 0.2, True),
}
backbones = pytest.mark.parametrize("backbone", ATTENTION)


@pytest.fixture
def attention(backbone):
    torch.manual_seed(0)
    layer = ATTENTION[backbone]().double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer


@backbones
def test_it_is_attention_of_normalised_queries_and_keys(attention):
    x = torch.randn(3, 5, 32, dtype=torch.float64)
    y, _ = attention(x, Conditioning(), None)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    qkv = x @ weight.T + (0 if bias is None else bias)
    parts = []
    for head in range(4):
        q, k, v = (qkv[..., 32 * i + 8 * head : 32 * i + 8 * head + 8] for i in range(3))
        q = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * attention.qk_norm.q_gain
        k = k / (k.square().mean(-1, keepdim=True) + 1e-6).sqrt() * attention.qk_norm.k_gain
        parts.append((q @ k.mT / 8**0.5).softmax(-1) @ v)
    expected = torch.cat(parts, -1) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(y, expected)


@backbones
def test_larger_queries_do_not_sharpen_it(attention):
    x = torch.randn(3, 5, 32, dtype=torch.float64)
    before, _ = attention(x, Conditioning(), None)
    with torch.no_grad():
        attention.qkv.weight[:64] *= 100
        if attention.qkv.bias is not None:
            attention.qkv.bias[:64] *= 100
    after, _ = attention(x, Conditioning(), None)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@backbones
def test_it_is_two_gains_a_layer_and_no_macs(backbone):
    def model(**options):
        return model_spec(**METHODS["can-3"], backbone=backbone, **options)

    assert fvcore_macs(model(qk_norm=True)) == fvcore_macs(model())
    plain, normed = (build_initialised(spec, 0) for spec in (model(), model(qk_norm=True)))
    gains = {name: p for name, p in normed.named_parameters() if name.endswith("_gain")}
    assert len(gains) == 2 * len(normed.backbone.blocks)
    assert {name for name, _ in plain.named_parameters()} == {
        name for name, _ in normed.named_parameters() if name not in gains
    }
    assert all((p == 1).all() for p in gains.values())
    assert "qk_norm" in BACKBONES.get(backbone).options
