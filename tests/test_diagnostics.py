"""Norms of generated weights, against a generator whose output is known."""

import pytest
import torch
from specs import METHODS, model_spec

from cabench.diagnostics import weight_norms
from cabench.models.model import build_initialised


def test_only_sites_with_generators_are_listed_and_start_at_zero():
    model = build_initialised(model_spec(**METHODS["native+can-3"]), seed=0)
    found = weight_norms(model, {"label": 10}, "cpu")
    assert set(found) == {"depthwise", "patch_embed", "attn_out"}
    assert all(entry["generated"] == 0 for entry in found.values())
    assert found["attn_out"]["layers"] == 2 and found["attn_out"]["static"] > 0
    static = build_initialised(model_spec(**METHODS["adaln_zero"]), seed=0)
    assert weight_norms(static, {"label": 10}, "cpu") == {}


def test_norms_are_those_of_the_weights_by_hand():
    model = build_initialised(model_spec(**METHODS["can-3"]), seed=0)
    for p in model.methods.parameters():
        torch.nn.init.normal_(p, std=0.1)
    found = weight_norms(model, {"label": 10}, "cpu")
    norms = []
    for t in (50.0, 275.0, 500.0, 725.0, 950.0):
        for label in range(10):
            embedded = model.embedder(torch.tensor([t]), {"label": torch.tensor([label])})
            c = embedded["timestep"] + embedded["label"]
            weight = model.methods["can"].generators["patch_embed"].weight
            norms.append((weight @ c[0]).norm().item())
    assert found["patch_embed"]["generated"] == pytest.approx(sum(norms) / 50, rel=1e-4)
    static = model.backbone.get_parameter("patch_embed.weight").norm().item()
    assert found["patch_embed"]["static"] == pytest.approx(static, rel=1e-4)
