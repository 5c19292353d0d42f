"""What every conditioning method must hold, tried with every zero-initialised tensor filled."""

import pytest
import torch
import torch.nn.functional as F
from specs import METHODS, SOURCE, method, model_spec

from cabench.models.model import build_initialised
from cabench.registry import METHODS as REGISTERED


def noisy_model(spec, seed=0):
    """An initialised model with noise in place of zeros and constants: all parts speak."""
    model = build_initialised(spec, seed)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.std(unbiased=False) == 0:
                p.add_(torch.randn(p.shape, generator=g) * 0.1)
    return model


def batch(n=6):
    g = torch.Generator().manual_seed(2)
    x = torch.randn(n, 1, 8, 8, generator=g)
    return x, torch.rand(n, generator=g) * 1000, torch.randint(0, 10, (n,), generator=g)


def test_every_registered_method_is_tried_here():
    assert set(REGISTERED.names()) == {m["kind"] for s in METHODS.values() for m in s["methods"]}


@pytest.mark.parametrize("name", METHODS)
def test_output_depends_on_each_source(name):
    model = noisy_model(model_spec(**METHODS[name]))
    x, t, label = batch()
    y = model(x, t, {"label": label})
    assert not torch.allclose(y, model(x, (t + 300) % 1000, {"label": label}))
    assert not torch.allclose(y, model(x, t, {"label": (label + 1) % 10}))
    everyone = torch.ones(len(x), dtype=torch.bool)
    assert not torch.allclose(y, model(x, t, {"label": label}, everyone))


@pytest.mark.parametrize("kind", ["adaln_zero", "can"])
@pytest.mark.parametrize("told,untold", [("timestep", "label"), ("label", "timestep")])
def test_output_depends_on_no_other_stream(kind, told, untold):
    model = noisy_model(model_spec([method(kind, source=[told])], affine=kind == "can"))
    x, t, label = batch()
    streams = {"timestep": t, "label": label}
    moved = streams | {untold: (t + 300) % 1000 if untold == "timestep" else (label + 1) % 10}
    y, z = (model(x, s["timestep"], {"label": s["label"]}) for s in (streams, moved))
    assert torch.equal(y, z)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_parameter(name):
    model = noisy_model(model_spec(**METHODS[name]))
    x, t, label = batch()
    model(x, t, {"label": label}, torch.arange(6) < 2).square().mean().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("name", METHODS)
def test_samples_do_not_mix_and_one_row_equals_its_batch(name):
    model = noisy_model(model_spec(**METHODS[name]))
    x, t, label = batch()
    y = model(x, t, {"label": label})
    other = label.clone()
    other[3] = (label[3] + 1) % 10
    z = model(x, t, {"label": other})
    kept = torch.arange(6) != 3
    torch.testing.assert_close(y[kept], z[kept])
    assert not torch.allclose(y[3], z[3])
    one = model(x[3:4], t[3:4], {"label": label[3:4]})
    torch.testing.assert_close(one, y[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in METHODS if n.startswith("can")])
def test_fused_form_is_the_static_network_with_its_weights_replaced(name):
    """The slow reference: per sample, write W + W_c into a static network and run that."""
    model = noisy_model(model_spec(**METHODS[name]))
    static = noisy_model(model_spec(**METHODS[name] | {"methods": []}))
    layers = dict(static.backbone.named_modules())
    x, t, label = batch()
    y = model(x, t, {"label": label})
    given = model.given(t, {"label": label}, None)
    assert given.operations
    for i in range(len(x)):
        static.backbone.load_state_dict(model.backbone.state_dict())
        with torch.no_grad():
            for address, operations in given.operations.items():
                for operation in operations:
                    layers[address].weight += operation.delta[i]
        alone = static(x[i : i + 1], t[i : i + 1], {"label": label[i : i + 1]})
        torch.testing.assert_close(alone, y[i : i + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["can-3", "can-all", "can-unshared", "can-bottleneck", "can-gate"])
def test_ungated_methods_start_as_the_static_network(name):
    spec = model_spec(**METHODS[name])
    told, static = build_initialised(spec, 0), build_initialised(spec | {"methods": []}, 0)
    for model in (told, static):
        with torch.no_grad():
            model.backbone.head.weight.fill_(0.05)  # it starts at zero and would hide all
    x, t, label = batch()
    torch.testing.assert_close(told(x, t, {"label": label}), static(x, t, {"label": label}))


def test_adaln_zero_is_dits_formula():
    """One block by hand from DiT's section 3.2: x += gate * f(LN(x) (1 + scale) + shift)."""
    model = noisy_model(model_spec([method("adaln_zero")], depthwise=False, depth=1))
    x, t, label = batch(2)
    embedded = model.embedder(t, {"label": label})
    c = F.silu(embedded["timestep"] + embedded["label"])
    maps = model.methods["adaln_zero"].maps
    block, b = model.backbone.blocks[0], model.backbone

    def modulated(h, linear):
        shift, scale, *gate = linear(c)[:, None].chunk(3 if linear.out_features == 96 else 2, -1)
        return F.layer_norm(h, (32,), eps=1e-6) * (1 + scale) + shift, *gate

    patches = x.reshape(2, 1, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, 16, 4)
    h = F.linear(patches, b.patch_embed.weight, b.patch_embed.bias) + b.positions
    m, gate = modulated(h, maps[0])
    q, k, v = F.linear(m, block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, -1)
    heads = [
        torch.softmax(q[..., s] @ k[..., s].mT / 4, -1) @ v[..., s]
        for s in (slice(0, 16), slice(16, 32))
    ]
    h = h + gate * F.linear(torch.cat(heads, -1), block.attn.out.weight, block.attn.out.bias)
    m, gate = modulated(h, maps[1])
    m = F.gelu(F.linear(m, block.ffn.expand.weight, block.ffn.expand.bias), approximate="tanh")
    h = h + gate * F.linear(m, block.ffn.project.weight, block.ffn.project.bias)
    m, = modulated(h, maps[2])  # fmt: skip
    y = F.linear(m, b.head.weight, b.head.bias)
    y = y.reshape(2, 4, 4, 1, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, 1, 8, 8)
    torch.testing.assert_close(model(x, t, {"label": label}), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_state_round_trips(name):
    spec = model_spec(**METHODS[name])
    a, b = noisy_model(spec, 0), build_initialised(spec, 1)
    b.load_state_dict(a.state_dict())
    x, t, label = batch()
    assert torch.equal(a(x, t, {"label": label}), b(x, t, {"label": label}))


def test_shared_generators_are_one_and_others_are_not():
    model = build_initialised(model_spec([method("can")], affine=True), 0)
    given = model.given(torch.zeros(1), {"label": torch.zeros(1, dtype=torch.long)}, None)
    deltas = {a: given.operations[a][0].delta.data_ptr() for a in given.operations}
    assert deltas["blocks.0.attn.out"] == deltas["blocks.1.attn.out"]
    assert deltas["blocks.0.ffn.depthwise"] != deltas["blocks.1.ffn.depthwise"]


@pytest.mark.parametrize(
    "shared,sites,bias,millions",
    [(True, ["attn_out"], True, 56.8), (False, ["attn_out"], True, 681),
     (True, ["depthwise", "patch_embed", "attn_out"], True, 123)],
)  # fmt: skip
def test_generator_sizes_at_dit_s2_are_the_derived_ones(shared, sites, bias, millions):
    """Width times what is generated, plus the bias: (384 + 1) * 384^2 = 56.8M, and so on."""
    from cabench.cost.macs import parameter_counts

    spec = model_spec(
        [method("can", sites=sites, shared=shared, bias=bias)], affine=True, preset="S",
        shape=[4, 32, 32],
    )  # fmt: skip
    assert parameter_counts(spec)["methods"] / 1e6 == pytest.approx(millions, rel=2e-3)


def test_source_is_a_sum_of_normalised_streams():
    model = build_initialised(model_spec([method("can")], affine=True), 0)
    embedded = model.embedder(torch.tensor([3.0, 700.0]), {"label": torch.tensor([1, 2])})
    assert set(embedded) == set(SOURCE)
    for e in embedded.values():
        torch.testing.assert_close(e.square().mean(1), torch.ones(2), rtol=1e-3, atol=1e-3)
