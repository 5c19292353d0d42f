"""Properties of every conditioning method, with all zero-initialised tensors filled."""

import pytest
import torch
import torch.nn.functional as F
from specs import METHODS, OF_MAPS, ON, ONE_STREAM, SOURCE, method, model_spec
from torch.utils._python_dispatch import TorchDispatchMode

from cabench.config.schema import Arm
from cabench.models.conditioning.timestep_moe import imbalance
from cabench.models.model import build_initialised
from cabench.models.operations import Conditioning, DenseDelta
from cabench.planning.methods import Network
from cabench.planning.models import resolve_models
from cabench.registry import METHODS as REGISTERED

everywhere = pytest.mark.parametrize(("backbone", "name"), ON)


def noisy_model(spec, seed=0):
    """An initialised model with noise instead of zeros and constants, so that all parts matter."""
    model = build_initialised(spec, seed)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.std(unbiased=False) == 0:
                p.add_(torch.randn(p.shape, generator=g) * 0.1)
            elif p.std() < 0.03:  # U-ViT's and the embedder's are small: make them matter
                p.mul_(5)
    return model


def spec_on(backbone, name, **more):
    return model_spec(**METHODS[name] | more, backbone=backbone)


def batch(n=6):
    g = torch.Generator().manual_seed(2)
    x = torch.randn(n, 1, 8, 8, generator=g)
    return x, torch.rand(n, generator=g) * 1000, torch.randint(0, 10, (n,), generator=g)


def weights_over(model, times, labels):
    """Generated weights or modulations at each pair of a time and a label, (T, L, numbers)."""
    t = torch.tensor(times).repeat_interleave(len(labels))
    label = torch.tensor(labels).repeat(len(times))
    cond = model.condition(t, {"label": label}, None)
    parts = [
        o.dense(model.backbone.get_submodule(a).weight)
        for a in cond.operations
        for o in cond.operations[a]
    ]
    for m in cond.modulation.values():
        parts += [p for p in (m.shift, m.scale, m.gate) if p is not None]
    return torch.cat([p.flatten(1) for p in parts], 1).view(len(times), len(labels), -1)


def interaction(model):
    """Share of the variance over a grid of times and labels that is in neither main effect."""
    y = weights_over(model, [50.0, 400.0, 800.0], [0, 3, 7, 9]).double()
    rest = y - y.mean(0) - y.mean(1, keepdim=True) + y.mean((0, 1))
    return (rest.square().sum() / (y - y.mean((0, 1))).square().sum()).item()


ON_BOTH = [  # methods that map label and timestep together to weights or modulations
    "adaln", "adaln_zero", "adaln_single", "adaln_shared", "film", "can-3", "can-bottleneck",
    "hyper_lora", "lora", "mixture-add",
]  # fmt: skip


@pytest.mark.parametrize("name", ON_BOTH)
def test_label_and_timestep_interact_in_every_method(name):
    """A linear map of their sum has no interaction; with the SiLU before it, all of them do."""
    spec = model_spec(**METHODS[name])
    assert interaction(noisy_model(spec)) > 0.02
    linear = spec.dump()
    linear["methods"][0]["options"]["activation"] = "none"
    model = noisy_model(type(spec).model_validate(linear))
    if name == "hyper_lora":  # a product of two linear maps
        assert interaction(model) > 0.02
    else:
        assert interaction(model) < 1e-6


@pytest.mark.parametrize("name", ON_BOTH)
def test_a_source_of_several_streams_is_as_loud_as_one(name):
    """The vector that a method maps has the same size for one stream and for two."""
    sizes = []
    for source in (SOURCE, ["label"], ["timestep"]):
        options = METHODS[name]["methods"][0]["options"] | {"source": source, "activation": "none"}
        kind = METHODS[name]["methods"][0]["kind"]
        model = build_initialised(model_spec([method(kind, **options)]), 0)
        _, t, label = batch(500)
        c = next(iter(model.methods.values())).condition(model.embedder(t, {"label": label}))
        sizes.append(c.square().mean().sqrt().item())
    assert sizes == pytest.approx([1, 1, 1], rel=0.1)


@pytest.mark.parametrize("probabilities", [[[0.25] * 4] * 4, [[0.7, 0.1, 0.1, 0.1]] * 4])
def test_the_balance_of_experts_is_switch_transformers(probabilities):
    """E sum_i f_i P_i of arXiv 2101.03961: 1 for an even load, up to E for a single expert."""
    p = torch.tensor(probabilities)
    even = torch.arange(4)[:, None]
    one = torch.zeros(4, 1, dtype=torch.long)
    assert imbalance(p, even).item() == pytest.approx(1)
    assert imbalance(p, one).item() == pytest.approx(4 * p[0, 0].item())


def test_every_registered_method_is_tested_here():
    here = {m["kind"] for s in METHODS.values() for m in s["methods"]}
    assert set(REGISTERED.names()) == here | set(OF_MAPS)  # those: test_maps.py


@everywhere
def test_output_depends_on_each_source(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, label = batch()
    y = model(x, t, {"label": label})
    assert not torch.allclose(y, model(x, (t + 300) % 1000, {"label": label}))
    assert not torch.allclose(y, model(x, t, {"label": (label + 1) % 10}))
    everyone = torch.ones(len(x), dtype=torch.bool)
    assert not torch.allclose(y, model(x, t, {"label": label}, everyone))


ALONE = [
    (kind, backbone, stream)
    for kind in REGISTERED.names()
    for backbone in ("dit", "uvit", "cat")
    for stream in ("timestep", "label")
    if REGISTERED.get(kind).Options.takes_source
    and not REGISTERED.get(kind).Options.takes_maps
    and (kind, stream) != ("timestep_mixture", "label")
    and (kind, backbone) not in [(k, "cat") for k in ("tokens", "class_tokens", "joint_attention")]
]


@pytest.mark.parametrize(("kind", "backbone", "stream"), ALONE)
def test_output_depends_on_no_other_stream(kind, backbone, stream):
    other = "label" if stream == "timestep" else "timestep"
    affine = not ("norm" in REGISTERED.get(kind).hooks and REGISTERED.get(kind).replaces_affine)
    model = noisy_model(model_spec([method(kind, [stream])], affine=affine, backbone=backbone))
    x, t, label = batch()
    streams = {"timestep": t, "label": label}
    moved = streams | {other: (t + 300) % 1000 if other == "timestep" else (label + 1) % 10}
    y, z = (model(x, s["timestep"], {"label": s["label"]}) for s in (streams, moved))
    assert torch.equal(y, z)


@everywhere
def test_gradients_reach_every_parameter(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, label = batch(32)  # enough for each expert to be chosen
    model(x, t, {"label": label}, torch.arange(32) < 2).square().mean().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@everywhere
def test_samples_do_not_mix_and_one_row_equals_its_batch(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, label = batch()
    y = model(x, t, {"label": label})
    other = label.clone()
    other[3] = (label[3] + 1) % 10
    z = model(x, t, {"label": other})
    others = torch.arange(6) != 3
    torch.testing.assert_close(y[others], z[others])
    assert not torch.allclose(y[3], z[3])
    one = model(x[3:4], t[3:4], {"label": label[3:4]})
    torch.testing.assert_close(one, y[3:4], rtol=1e-4, atol=1e-5)


@everywhere
def test_distinct_conditions_give_what_one_per_sample_gives(backbone, name):
    model = noisy_model(spec_on(backbone, name))
    x, t, label = batch()
    index = torch.tensor([2, 0, 0, 1, 2, 2])
    drop = torch.tensor([False, True, False])
    each = model(x, t[:3][index], {"label": label[:3][index]}, drop[index])
    once = model(x, t[:3], {"label": label[:3]}, drop, index)
    torch.testing.assert_close(once, each, rtol=1e-4, atol=1e-4)


def test_a_method_without_take_gets_the_condition_of_every_sample(monkeypatch):
    model = noisy_model(model_spec(**METHODS["can-3"]))
    x, t, label = batch()
    index = torch.tensor([2, 0, 0, 1, 2, 2])
    expected = model(x, t[:3], {"label": label[:3]}, None, index)
    monkeypatch.setattr(type(model.methods["can"]), "distinct", False)
    monkeypatch.setattr(DenseDelta, "take", None)
    actual = model(x, t[:3], {"label": label[:3]}, None, index)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


WEIGHT_SPACE = [
    (b, m)
    for b, m in ON
    if m.startswith(("can", "mixture", "timestep_mixture", "lora", "hyper_lora", "text"))
]


@pytest.mark.parametrize(("backbone", "name"), WEIGHT_SPACE)
def test_fused_form_is_the_static_network_with_its_weights_replaced(backbone, name):
    """Slow reference: per sample, write the full conditional weight into a static network."""
    model = noisy_model(spec_on(backbone, name))
    static = noisy_model(spec_on(backbone, name, methods=[]))
    layers = dict(static.backbone.named_modules())
    x, t, label = batch()
    y = model(x, t, {"label": label})
    cond = model.condition(t, {"label": label}, None)
    assert cond.operations
    for i in range(len(x)):
        static.backbone.load_state_dict(model.backbone.state_dict())
        with torch.no_grad():
            for address, operations in cond.operations.items():
                weight = layers[address].weight
                weight += sum(by_hand(o, weight.clone(), i) for o in operations)
        alone = static(x[i : i + 1], t[i : i + 1], {"label": label[i : i + 1]})
        torch.testing.assert_close(alone, y[i : i + 1], rtol=1e-3, atol=1e-4)


def by_hand(operation, static, i):
    """What an operation adds to sample i's weight."""
    if isinstance(operation, DenseDelta):
        keep = 1.0 if operation.keep is None else operation.keep[i]
        return operation.delta[i] + keep * static - static
    down, up = (m if m.dim() == 2 else m[i] for m in (operation.down, operation.up))
    scale = torch.ones(len(down)) if operation.scale is None else operation.scale[i]
    return up @ torch.diag(scale) @ down


def test_kernel_mixture_is_the_sum_by_hand():
    """W + sum_k a_k(c) B_k, and CondConv's sum_k sigmoid(a_k(c)) W_k times 2 / sqrt(K)."""
    _, t, label = batch()
    for form, kernels in (("add", 4), ("condconv", 3)):
        spec = model_spec([method("kernel_mixture", form=form, kernels=kernels)], affine=True)
        model = noisy_model(spec)
        embedded = model.embedder(t, {"label": label})
        c = F.silu((embedded["timestep"] + embedded["label"]) / 2**0.5)
        mixture = model.methods["kernel_mixture"].mixtures["patch_embed"]
        static = model.backbone.patch_embed.weight
        delta = (
            model.condition(t, {"label": label}, None).operations["patch_embed"][0].weight(static)
        )
        for i in range(len(t)):
            a = mixture.coefficients(c[i])
            if form == "add":
                expected = static + sum(a[k] * mixture.bases[k] for k in range(4))
            else:
                kernels = [static, *mixture.bases]
                expected = sum(a[k].sigmoid() * kernels[k] for k in range(3)) * 2 / 3**0.5
            torch.testing.assert_close(static + delta[i], expected)


def test_a_bottleneck_of_rank_k_is_a_mixture_of_k_kernels_with_other_initial_values():
    """W + V (U c) = W + sum_k a_k B_k: B_k is the k-th column of V, a_k the k-th row of U c."""
    x, t, label = batch()
    spec = model_spec([method("can", generator="bottleneck", rank=5)], affine=True)
    can = noisy_model(spec)
    mixture = build_initialised(model_spec([method("kernel_mixture", kernels=5)], affine=True), 0)
    state = {}
    for name, tensor in can.state_dict().items():
        name = name.replace("can.generators", "kernel_mixture.mixtures")
        if name.endswith(".down"):
            state[name.replace(".down", ".coefficients.weight")] = tensor
        elif "mixtures" in name:
            name = name.replace(".weight", ".bases")
            state[name] = tensor.T.reshape(mixture.get_parameter(name).shape)
        else:
            state[name] = tensor
    unchanged = mixture(x, t, {"label": label})
    mixture.load_state_dict(state)  # strict: every parameter has its counterpart

    expected = can(x, t, {"label": label})

    torch.testing.assert_close(mixture(x, t, {"label": label}), expected)
    assert not torch.allclose(unchanged, expected)


def test_experts_are_those_that_the_router_chose():
    """Slow reference: the top 2 of 4 experts, each a small FFN, weighted by the router's share."""
    model = noisy_model(model_spec([method("timestep_moe", ["timestep"])], affine=True))
    experts = model.methods["timestep_moe"].layers[0]
    g = torch.Generator().manual_seed(3)
    h, t = torch.randn(5, 7, 32, generator=g), torch.rand(5, generator=g) * 1000
    embedded = model.embedder(t, {})
    y = experts(h, *model.methods["timestep_moe"](embedded).branches["blocks.0.beside"].inputs)
    for i in range(5):
        share = experts.router(F.silu(embedded["timestep"][i])).softmax(0)
        expected = sum(
            share[k] * F.gelu(h[i] @ experts.expand[k].T, approximate="tanh") @ experts.project[k].T
            for k in share.argsort(descending=True)[:2].tolist()
        )
        torch.testing.assert_close(y[i], expected, rtol=1e-4, atol=1e-5)


STATIC_AT_FIRST = [
    "can-3",
    "can-all",
    "can-unshared",
    "can-bottleneck",
    "can-mlp",
    "can-gate",
    "mixture-add",
    "lora",
    "hyper_lora",
    "text_kernels",
    "adaln",
    "film",
    "cross_attention",
    "timestep_moe",
    "expert_choice",
]


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
@pytest.mark.parametrize("name", STATIC_AT_FIRST)
def test_ungated_methods_start_as_the_static_network(backbone, name):
    spec = spec_on(backbone, name)
    conditioned, static = (
        build_initialised(spec, 0),
        build_initialised(spec_on(backbone, name, methods=[]), 0),
    )
    for model in (conditioned, static):
        with torch.no_grad():
            # DiT's starts at zero and would hide every difference. So would a constant one, after a
            # norm whose channels sum to zero
            model.backbone.head.weight.normal_(generator=torch.Generator().manual_seed(2))
    x, t, label = batch()
    torch.testing.assert_close(conditioned(x, t, {"label": label}), static(x, t, {"label": label}))


def test_extra_tokens_join_in_front_pass_the_convolution_and_leave():
    """Extra tokens join before their block, skip the convolution, and leave before the head."""
    model = noisy_model(model_spec([method("tokens", count=2, start=1)], affine=True))
    seen = []
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[1]))
    conv = model.backbone.blocks[1].ffn.depthwise
    conv.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[1]))
    x, t, label = batch()
    assert model(x, t, {"label": label}).shape == x.shape
    assert seen == [16, 16 + 4, 16]  # two streams of two tokens join before block 1


def test_linear_attention_is_relu_kernel_attention():
    """LiteMLA by its definition: weights relu(q_i) . relu(k_j), normalised over j (no softmax)."""
    model = noisy_model(model_spec([], backbone="cat", affine=True))
    layer = model.backbone.down[0][0].attn
    x = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(4))
    qkv = F.linear(x, layer.qkv.weight)
    grid = qkv.mT.reshape(2, 96, 4, 4)
    wide = F.conv2d(grid, layer.agg.weight, padding=2, groups=96)
    wide = F.conv2d(wide, layer.mix, groups=6).flatten(2).mT
    heads = []
    for part in (qkv, wide):
        for head in part.split(48, dim=2):  # q, k, v of 16 channels each
            q, k, v = head[..., :16].relu(), head[..., 16:32].relu(), head[..., 32:]
            weights = q @ k.mT
            heads.append(weights @ v / weights.sum(2, keepdim=True).clamp(min=1e-15))
    expected = F.linear(torch.cat(heads, 2), layer.out.weight)
    torch.testing.assert_close(layer(x, Conditioning()), expected, rtol=1e-3, atol=1e-4)


def test_text_is_a_stream_of_tokens_with_a_null():
    """Masked tokens change nothing; a dropped text is the null text, pooled or attended to."""
    methods = [method("can", ["timestep", "text"]), method("cross_attention", ["text"])]
    spec = model_spec(methods, affine=True, classes={}, text={"text": 12})
    model = noisy_model(spec)
    x, t, _ = batch(3)
    g = torch.Generator().manual_seed(5)
    features = torch.randn(3, 5, 12, generator=g)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    y = model(x, t, {"text": (features, mask)})
    padded = torch.where(mask[..., None], features, 9.0)
    torch.testing.assert_close(model(x, t, {"text": (padded, mask)}), y)
    assert not torch.allclose(model(x, t, {"text": (features + mask[..., None], mask)}), y)
    everyone = torch.ones(3, dtype=torch.bool)
    dropped = model(x, t, {"text": (features, mask)}, everyone)
    torch.testing.assert_close(model(x, t, {"text": (features * 3, mask)}, everyone), dropped)


@pytest.mark.parametrize(
    ("kind", "backbone"),
    [
        ("can", "dit"),
        ("cross_attention", "dit"),
        ("tokens", "uvit"),
        ("text_kernels", "dit"),
        ("joint_attention", "uvit"),
    ],
)
def test_a_dropped_text_has_no_length(kind, backbone):
    spec = model_spec(
        [method(kind, ["timestep", "text"])],
        backbone=backbone,
        affine=True,
        classes={},
        text={"text": 12},
    )
    model = noisy_model(spec)
    x, t, _ = batch(1)
    features = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(5))
    everyone = torch.ones(1, dtype=torch.bool)
    texts = [(features, torch.arange(5)[None] < length) for length in (5, 1)]
    assert not torch.allclose(*(model(x, t, {"text": text}) for text in texts))
    torch.testing.assert_close(*(model(x, t, {"text": text}, everyone) for text in texts))


def test_linear_attention_sums_in_float32_under_autocast():
    """The sum over all tokens and the division by it, as in EfficientViT's own code."""
    model, seen = noisy_model(spec_on("cat", "adaln")), []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._schema.name in ("aten::bmm", "aten::div"):
                seen.append(args[0].dtype)
            return func(*args, **(kwargs or {}))

    x, t, label = batch(2)
    with torch.autocast("cpu", torch.bfloat16), Spy():
        y = model(x, t, {"label": label})
    assert seen and set(seen) == {torch.float32} and y.dtype == torch.bfloat16


@pytest.mark.parametrize("generator", ["linear", "mlp"])
def test_kernels_of_a_text_are_means_over_its_tokens(generator):
    """Slow reference: each text by itself, without padding. Computed once per trajectory."""
    methods = [method("text_kernels", ["text"], generator=generator)]
    spec = model_spec(methods, affine=True, classes={}, text={"text": 12})
    model = noisy_model(spec)
    g = torch.Generator().manual_seed(5)
    lengths, features = (5, 3, 1), torch.randn(3, 5, 12, generator=g)
    text, t = (features, torch.arange(5) < torch.tensor(lengths)[:, None]), torch.zeros(3)
    module = model.methods["text_kernels"].kernels[1]
    operation = model.condition(t, {"text": text}, None).operations["blocks.1.ffn.depthwise"][0]
    for i, length in enumerate(lengths):
        tokens = model.embedder.texts["text"].linear(features[i, :length])
        tokens = tokens / tokens.square().mean(1, keepdim=True).sqrt()
        expected = torch.stack(
            [
                module.out @ F.silu(token if generator == "linear" else module.hidden(token))
                for token in tokens
            ]
        ).mean(0)
        torch.testing.assert_close(operation.delta[i].flatten(), expected, rtol=1e-4, atol=1e-5)
    cache = {}
    first, second = (
        model.condition(t + s, {"text": text}, None, cache).operations for s in (900, 20)
    )
    assert all(first[a][0] is second[a][0] for a in first)


def test_uvits_final_convolution_is_the_last_layer():
    plain, model = (
        noisy_model(model_spec([method("tokens")], backbone="uvit", affine=True, **more))
        for more in ({}, {"final_conv": True})
    )
    missing = model.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing == ["backbone.final_conv.weight", "backbone.final_conv.bias"]
    x, t, label = batch(2)
    conv = model.backbone.final_conv
    expected = F.conv2d(plain(x, t, {"label": label}), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(model(x, t, {"label": label}), expected)


@pytest.mark.parametrize(("sum_scale", "divisor"), [("one", 1), ("sqrt", 2**0.5)])
def test_adaln_zero_is_dits_formula(sum_scale, divisor):
    """One block by hand from DiT's section 3.2: x += gate * f(LN(x) (1 + scale) + shift)."""
    methods = [method("adaln_zero", sum_scale=sum_scale)]
    model = noisy_model(model_spec(methods, depthwise=False, depth=1))
    x, t, label = batch(2)
    embedded = model.embedder(t, {"label": label})
    c = F.silu((embedded["timestep"] + embedded["label"]) / divisor)
    maps = model.methods["adaln_zero"].maps
    block, b = model.backbone.blocks[0], model.backbone

    def modulated(h, linear):
        y = F.linear(c, linear.weight, linear.bias)[:, None]
        shift, scale, *gate = y.chunk(y.shape[-1] // 32, -1)
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
    (m,) = modulated(h, maps[2])
    y = F.linear(m, b.head.weight, b.head.bias)
    y = y.reshape(2, 4, 4, 1, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, 1, 8, 8)
    torch.testing.assert_close(model(x, t, {"label": label}), y, rtol=1e-4, atol=1e-5)


@everywhere
def test_state_round_trips(backbone, name):
    spec = spec_on(backbone, name)
    a, b = noisy_model(spec, 0), build_initialised(spec, 1)
    b.load_state_dict(a.state_dict())
    x, t, label = batch()
    assert torch.equal(a(x, t, {"label": label}), b(x, t, {"label": label}))


def test_shared_generators_are_one_and_others_are_not():
    model = build_initialised(model_spec([method("can")], affine=True), 0)
    cond = model.condition(torch.zeros(1), {"label": torch.zeros(1, dtype=torch.long)}, None)
    deltas = {a: cond.operations[a][0].delta.data_ptr() for a in cond.operations}
    assert deltas["blocks.0.attn.out"] == deltas["blocks.1.attn.out"]
    assert deltas["blocks.0.ffn.depthwise"] != deltas["blocks.1.ffn.depthwise"]


@pytest.mark.parametrize(
    ("shared", "sites", "bias", "millions"),
    [
        (True, ["attn_out"], True, 56.8),
        (False, ["attn_out"], True, 681),
        (True, ["depthwise", "patch_embed", "attn_out"], True, 123),
    ],
)
def test_generator_sizes_at_dit_s2_are_the_derived_ones(shared, sites, bias, millions):
    """Width times what is generated, plus the bias: (384 + 1) * 384^2 = 56.8M, and so on."""
    from cabench.cost.macs import parameter_counts

    spec = model_spec(
        [method("can", sites=sites, shared=shared, bias=bias)],
        affine=True,
        preset="S",
        shape=[4, 32, 32],
    )
    assert parameter_counts(spec).methods / 1e6 == pytest.approx(millions, rel=2e-3)


def test_source_is_a_sum_of_normalised_streams():
    model = build_initialised(model_spec([method("can")], affine=True), 0)
    embedded = model.embedder(torch.tensor([3.0, 700.0]), {"label": torch.tensor([1, 2])})
    assert set(embedded) == set(SOURCE)
    for e in embedded.values():
        torch.testing.assert_close(e.square().mean(1), torch.ones(2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("source", [SOURCE, ["label"], ["timestep"]])
@pytest.mark.parametrize("activation", ["silu", "none"])
@pytest.mark.parametrize(("generator", "rank"), [("linear", None), ("bottleneck", 8), ("mlp", 8)])
def test_generation_through_a_trajectory_is_split(source, activation, generator, rank):
    options = dict(generator=generator, rank=rank, activation=activation, bias=True)
    can = method("can", source, sites="all", **options)
    model = noisy_model(model_spec([can], affine=True))
    rows = []
    for module in model.methods["can"].generators.values():
        module.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    x, _, _ = batch(5)
    streams, index = {"label": torch.tensor([4, 0, 2])}, torch.tensor([0, 2, 1, 0, 0])
    cache, count = {}, len(model.methods["can"].generators)
    for step, t in enumerate((900.0, 20.0)):
        t = torch.full((3,), t)
        full = model(x, t, streams, None, index)
        assert rows == [3] * count
        rows.clear()
        split = model(x, t, streams, None, index, cache)
        torch.testing.assert_close(split, full, rtol=1e-4, atol=1e-4)
        labels, time = ([3] * count if step == 0 else []), [1] * count
        if (generator == "mlp" or activation == "silu") and source == SOURCE:
            labels, time = [3] * count, []
        expected = labels * ("label" in source) + time * ("timestep" in source)
        assert sorted(rows) == sorted(expected)
        rows.clear()


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
@pytest.mark.parametrize("form", ["condconv", "convex"])
def test_a_mixed_kernel_starts_with_the_static_ones_spread(backbone, form):
    """On every site and backbone, for every rule of initialisation; zero stays zero."""
    mixed = method("kernel_mixture", form=form, kernels=4, sites="all", shared=False)
    model = build_initialised(spec_on(backbone, "mixture-condconv", methods=[mixed]), 0)
    _x, t, label = batch()
    cond = model.condition(t, {"label": label}, None)
    layers = dict(model.backbone.named_modules())
    assert cond.operations
    for address, operations in cond.operations.items():
        layer = layers[address]
        mixed = layer.weight_for(operations).std().item()
        static = layer.weight.std().item()
        assert mixed == pytest.approx(static, rel=0.35, abs=1e-7), address


def test_streams_that_no_method_uses_have_no_embedding():
    embedders = {
        name: build_initialised(model_spec(**arm), 0).embedder for name, arm in ONE_STREAM.items()
    }
    assert embedders["label"].timestep is None and list(embedders["label"].categories) == ["label"]
    assert embedders["timestep"].timestep is not None and not embedders["timestep"].categories


def test_uvits_convolutions_start_as_torch_draws_them():
    """Its published code initialises linear layers only: patch embedding within 1/sqrt(fan-in)."""
    model = build_initialised(spec_on("uvit", "can-3"), 0)
    patch = model.backbone.patch_embed
    bound = (patch.weight.shape[1]) ** -0.5
    for p in (patch.weight, patch.bias):
        assert 0.8 * bound < p.detach().abs().max() <= bound
        assert p.detach().std().item() == pytest.approx(bound / 3**0.5, rel=0.25)
    assert model.backbone.blocks[0].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)


# ---- ideas published from 2024 on, each against its formula -------------------------------------


def alone(kind, backbone="dit", **options):
    """A noisy model with one method, its condition, and what the method returns."""
    model = noisy_model(model_spec([method(kind, **options)], backbone=backbone))
    _, t, label = batch()
    embedded = model.embedder(t, {"label": label})
    c = F.silu((embedded["timestep"] + embedded["label"]) / 2**0.5)
    return model.methods[kind], embedded, c, model.condition(t, {"label": label}, None)


def test_a_shared_modulation_is_the_same_in_all_blocks():
    module, _, c, cond = alone("adaln_shared")
    first, second = (cond.modulation[f"blocks.{i}.norm2"] for i in (0, 1))
    assert first is second and first is not cond.modulation["blocks.0.norm1"]
    linear = module.maps[module.kinds[module.norms.index(norm_at(module, "blocks.0.norm2"))]]
    y = F.linear(c, linear.weight, linear.bias)
    for part, expected in zip((first.shift, first.scale, first.gate), y.chunk(3, 1), strict=True):
        torch.testing.assert_close(part, expected)
    assert len(module.maps) == 3  # of the first and the second norm, and before the head


def norm_at(module, address):
    return next(norm for norm in module.norms if norm.address == address)


def test_scale_and_tanh_gate_have_no_shift():
    module, _, c, cond = alone("scale_gate")
    for norm, linear in zip(module.norms, module.maps, strict=True):
        m = cond.modulation[norm.address]
        y = F.linear(c, linear.weight, linear.bias)
        assert not m.shift.any()
        torch.testing.assert_close(m.scale, y[:, : norm.width])
        if norm.gated:
            torch.testing.assert_close(m.gate, torch.tanh(y[:, norm.width :]))
        else:
            assert m.gate is None and y.shape[1] == norm.width


def test_one_mlp_writes_all_modulations():
    module, _, c, cond = alone("modulator", hidden=12)
    parts = zip(module.norms, module.kinds, module.places, module.tables, strict=True)
    for norm, kind, place, table in parts:
        h = F.silu(c @ module.inner.weight.T + place)
        y = (h @ module.outer[kind].weight.T).view(len(c), -1, norm.width) + table
        m = cond.modulation[norm.address]
        values = [m.shift, m.scale, *([m.gate] if norm.gated else [])]
        torch.testing.assert_close(torch.stack(values, 1), y)
    assert len(module.outer) == 2  # of three values in blocks, of two before the head


def test_every_class_has_tokens_of_its_own():
    module, embedded, _, cond = alone("class_tokens", count=3)
    extra = cond.tokens[module.source.index("label")]
    expected = torch.stack([embedded["label"] @ m.weight.T for m in module.maps["label"]], 1)
    torch.testing.assert_close(extra.values, expected + module.positions["label"])
    assert torch.linalg.matrix_rank(extra.values[0] - module.positions["label"]) == 3


def test_registers_are_the_same_for_every_condition():
    entry = {"kind": "registers", "version": 1, "options": {"source": "none", "count": 3}}
    model = noisy_model(model_spec([entry], affine=True))
    x, t, label = batch()
    assert not model.embedder.categories and model.embedder.timestep is None
    y = model(x, t, {"label": label})
    assert torch.equal(y, model(x, (t + 300) % 1000, {"label": (label + 1) % 10}))
    with torch.no_grad():
        model.methods["registers"].tokens.mul_(2)
    assert not torch.allclose(y, model(x, t, {"label": label}))


def test_joint_attention_is_mm_dits_formula():
    """Slow reference: two streams through both blocks, one sample at a time, softmax written out.

    The label has two tokens, the text has its own, of which padding takes no part.
    """
    methods = [method("joint_attention", ["label", "text"], count=2, ratio=3)]
    model = noisy_model(model_spec(methods, affine=True, depthwise=False, text={"text": 12}))
    x, t, label = batch(3)
    lengths = (5, 3, 1)
    features = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(5))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    y = model(x, t, {"label": label, "text": (features, mask)})
    b, own = model.backbone, model.methods["joint_attention"]

    def normal(h):
        return (h - h.mean(-1, keepdim=True)) / (
            h.var(-1, keepdim=True, correction=0) + 1e-6
        ).sqrt()

    for i, length in enumerate(lengths):
        embedded = model.embedder(
            t[i : i + 1],
            {
                "label": label[i : i + 1],
                "text": (features[i : i + 1, :length], mask[i, None, :length]),
            },
        )
        text = embedded.sequences["text"][0][0]
        c = F.silu((embedded["label"][0] + embedded["text"][0]) / 2**0.5)
        tokens = torch.stack([linear(embedded["label"][0]) for linear in own.maps["label"]])
        tokens = torch.cat([tokens, own.maps["text"][0](text)])  # (2 + length, D)
        patches = x[i].reshape(4, 2, 4, 2).permute(0, 2, 1, 3).reshape(16, 4)
        h = b.patch_embed.weight @ patches.T
        h = h.T + b.patch_embed.bias + b.positions
        for block, part, last in zip(b.blocks, own.blocks, (False, True), strict=True):
            m = (part.modulation.weight @ c + part.modulation.bias).view(-1, 32)
            first = F.linear(
                normal(h) * block.norm1.weight + block.norm1.bias,
                block.attn.qkv.weight,
                block.attn.qkv.bias,
            )
            second = part.qkv(normal(tokens) * (1 + m[1]) + m[0])
            q, k, v = first.chunk(3, -1)
            *query, key, value = second.chunk(2 if last else 3, -1)
            q, k, v = torch.cat([q, *query]), torch.cat([k, key]), torch.cat([v, value])
            heads = [
                torch.softmax(q[:, s] @ k[:, s].T / 4, -1) @ v[:, s]
                for s in (slice(0, 16), slice(16, 32))
            ]
            a = torch.cat(heads, -1)
            h = h + F.linear(a[:16], block.attn.out.weight, block.attn.out.bias)
            f = normal(h) * block.norm2.weight + block.norm2.bias
            f = F.gelu(
                F.linear(f, block.ffn.expand.weight, block.ffn.expand.bias), approximate="tanh"
            )
            h = h + F.linear(f, block.ffn.project.weight, block.ffn.project.bias)
            if not last:
                tokens = tokens + m[2] * part.update.out(a[16:])
                f = part.update.expand(normal(tokens) * (1 + m[4]) + m[3])
                tokens = tokens + m[5] * part.update.project(F.gelu(f, approximate="tanh"))
        h = F.linear(normal(h) * b.norm.weight + b.norm.bias, b.head.weight, b.head.bias)
        image = h.reshape(4, 4, 2, 2).permute(0, 2, 1, 3).reshape(1, 8, 8)
        torch.testing.assert_close(y[i], image, rtol=1e-3, atol=1e-4)
    assert part.modulation.weight.shape == (2 * 32, 32) and part.update is None  # as in SD3


@pytest.mark.parametrize(("sum_scale", "divisor"), [("one", 1), ("sqrt", 3**0.5)])
def test_a_token_is_modulated_by_the_condition_and_itself(sum_scale, divisor):
    methods = [method("token_modulation", sum_scale=sum_scale)]
    model = noisy_model(model_spec(methods))
    _, t, label = batch()
    embedded = model.embedder(t, {"label": label})
    cond = model.condition(t, {"label": label}, None)
    x = torch.randn(6, 16, 32, generator=torch.Generator().manual_seed(3))
    norm, outer = model.backbone.blocks[1].norm2, model.methods["token_modulation"].maps[3].outer
    own = model.methods["token_modulation"].maps[3].own.weight
    h, gate = norm(x, cond)
    for i in range(6):
        for n in range(16):
            u = (x[i, n] - x[i, n].mean()) / (x[i, n].var(correction=0) + 1e-6).sqrt()
            c = (embedded["timestep"][i] + embedded["label"][i] + own @ u) / divisor
            shift, scale, g = (outer.weight @ (c * c.sigmoid()) + outer.bias).chunk(3)
            torch.testing.assert_close(h[i, n], u * (1 + scale) + shift, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(gate[i, n], g, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["dit", "uvit", "cat"])
def test_a_token_is_as_large_as_a_stream(backbone):
    """No method has an input scale of its own: z_n has the RMS of an embedded stream."""
    network = Network(backbone, "nano", 2, (1, 16, 16), classes={"label": 10}, needs=["label"])
    arms = {"arm": Arm(methods=["token_modulation"])}
    model = build_initialised(resolve_models(arms, network)["arm"].spec, 0)
    t, label = torch.linspace(0, 999, 32), torch.arange(32) % 10
    sizes = []
    for layer in model.methods["token_modulation"].maps:
        layer.own.register_forward_hook(lambda _, __, z: sizes.append(z.square().mean().sqrt()))
    with torch.no_grad():
        model(torch.randn(32, 1, 16, 16), t, {"label": label})
        streams = model.embedder(t, {"label": label})
    assert all(rms == pytest.approx(1, abs=0.15) for rms in sizes)
    for stream in streams.values():
        assert float(torch.stack(sizes).mean()) == pytest.approx(
            float(stream.square().mean().sqrt()), rel=0.05
        )


@pytest.mark.parametrize(("capacity", "count"), [(2, 4), (0.5, 1), (4, 7)])
def test_experts_take_the_tokens_that_score_highest(capacity, count):
    """Slow reference: expert by expert and token by token, for 7 tokens and 4 experts."""
    spec = model_spec([method("expert_choice", ["timestep"], capacity=capacity)], affine=True)
    model = noisy_model(spec)
    layer = model.methods["expert_choice"].layers[0]
    g = torch.Generator().manual_seed(3)
    h, t = torch.randn(5, 7, 32, generator=g), torch.rand(5, generator=g) * 1000
    embedded = model.embedder(t, {})
    branch = model.methods["expert_choice"](embedded).branches["blocks.0.beside"]
    y = branch(h)
    for i in range(5):
        c = F.silu(embedded["timestep"][i])
        logits = h[i] @ layer.router.weight.T + layer.router.bias + layer.condition.weight @ c
        scores = logits.exp() / logits.exp().sum(1, keepdim=True)  # (7, 4)
        expected = torch.zeros(7, 32)
        for e in range(4):
            for n in scores[:, e].argsort(descending=True)[:count].tolist():
                hidden = F.gelu(layer.expand[e] @ h[i, n], approximate="tanh")
                expected[n] += scores[n, e] * (layer.project[e] @ hidden)
        torch.testing.assert_close(y[i], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(branch.take(torch.tensor([i]))(h[i : i + 1])[0], y[i])
