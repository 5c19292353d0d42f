"""Methods that are conditioned on maps of the images, and the embedder's null map."""

import pytest
import torch
import torch.nn.functional as F
from specs import EDGES, OF_MAPS, method, model_spec

from cabench.cost import macs
from cabench.errors import CabenchError
from cabench.models import contract
from cabench.models.embedding import ConditionEmbedder
from cabench.models.model import build_initialised

BACKBONES = ("dit", "uvit", "cat")
everywhere = pytest.mark.parametrize(
    ("backbone", "name"), [(backbone, name) for backbone in BACKBONES for name in OF_MAPS]
)


def spec_on(backbone, name, **more):
    return model_spec(**OF_MAPS[name] | more, backbone=backbone)


def batch(n=4):
    g = torch.Generator().manual_seed(0)
    x, edges = torch.randn(2, n, 1, 8, 8, generator=g)
    t, label = torch.linspace(0, 999, n), torch.arange(n)
    return x, t, {"label": label, "edges": edges.sign()}


def noisy_model(spec):
    model = build_initialised(spec, 0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return model


def test_a_dropped_map_is_zero_and_has_no_vector():
    _, t, streams = batch(3)
    embedder = ConditionEmbedder(16, {}, maps=EDGES)
    embedded = embedder(t, {"edges": streams["edges"]}, torch.tensor([False, True, False]))
    assert torch.equal(embedded.maps["edges"][::2], streams["edges"][::2])
    assert not embedded.maps["edges"][1].any()
    assert not list(embedder.parameters()) or "edges" not in dict(embedder.named_parameters())
    with pytest.raises(CabenchError, match="'edges' is a map, which has no vector"):
        embedded["edges"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_map_concat_is_a_patch_embedding_of_concatenated_channels(backbone):
    """By a convolution of the image's and the map's channels with stride 2, in plain torch."""
    model = noisy_model(spec_on(backbone, "map_concat"))
    x, t, streams = batch()
    embed, added = model.backbone.patch_embed, model.methods["map_concat"].maps["edges"].weight
    kernel = torch.cat([w.view(-1, 1, 2, 2) for w in (embed.weight, added)], 1)  # (D, 2, 2, 2)
    both = torch.cat([x, streams["edges"]], 1)  # (B, 2, 8, 8)
    expected = F.conv2d(both, kernel, embed.bias, stride=2).flatten(2).mT  # (B, N, D)
    seen = []
    handle = embed.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(x, t, streams)
    handle.remove()
    torch.testing.assert_close(seen[0], expected)


@everywhere
def test_maps_of_the_images_beside_latents(backbone, name):
    """Maps of 16x16 for inputs of 8x8: patches of 4x4 pixels for tokens of 2x2 latents."""
    model = noisy_model(spec_on(backbone, name, maps={"edges": (3, 16, 16)}))
    x, t, streams = batch()
    maps = torch.randn(4, 3, 16, 16)
    y = model(x, t, streams | {"edges": maps})
    maps[:, :, 15, 15] += 9
    changed = (model(x, t, streams | {"edges": maps}) - y).abs().amax((0, 1))  # (8, 8)
    assert y.shape == x.shape and changed[7, 7] > 0


@everywhere
def test_the_network_starts_as_the_one_without_the_map(backbone, name):
    x, t, streams = batch()
    without = build_initialised(spec_on(backbone, name, methods=[method("adaln")]), 0)
    model = build_initialised(spec_on(backbone, name), 0)
    torch.nn.init.normal_(model.backbone.head.weight)  # starts at zero on some backbones
    with torch.no_grad():
        without.backbone.head.weight.copy_(model.backbone.head.weight)
    assert torch.equal(model(x, t, streams), without(x, t, streams))


@everywhere
def test_the_output_depends_on_the_map_until_it_is_dropped(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, streams = batch()
    other = streams | {"edges": -streams["edges"]}
    assert not torch.allclose(model(x, t, streams), model(x, t, other))
    everyone = torch.ones(len(x), dtype=torch.bool)
    assert torch.equal(model(x, t, streams, everyone), model(x, t, other, everyone))


@everywhere
def test_samples_get_their_own_map_and_a_trajectory_computes_it_once(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, streams = batch()
    index, t, cache = torch.tensor([2, 0, 3, 1]), torch.full((4,), 500.0), {}
    chosen = {stream: values[index] for stream, values in streams.items()}
    expected = model(x, t, chosen)
    for _ in range(2):
        y = model(x, t, streams, None, index, cache)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    assert model.methods[name] in cache


@everywhere
def test_the_method_acts_and_its_macs_are_counted(backbone, name):
    spec = spec_on(backbone, name)
    methods = [m.model_copy(update={"plugin": "0" * 64}) for m in spec.methods]
    assert contract.fault(spec.model_copy(update={"methods": tuple(methods)})) is None
    assert macs.fvcore_macs(spec) == macs.meta_macs(spec)


def test_map_branch_leaves_extra_tokens_as_they_are():
    methods = [method("tokens"), method("map_branch", ["edges"])]
    model = noisy_model(spec_on("uvit", "map_branch", methods=methods))
    _, t, streams = batch()
    cond = model.condition(t, streams, None)
    hidden = torch.randn(4, 18, 32)  # 2 tokens and 4x4 patches
    (update, *_) = (branch(hidden) for branch in cond.branches.values())
    assert update.shape == hidden.shape and not update[:, :2].any() and update[:, 2:].all()
