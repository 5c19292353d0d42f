"""Diagnostics of generated weights, against known generators and independent formulas."""

import numpy as np
import pytest
import torch
from specs import METHODS, method, model_spec

from cabench.diffusion.weight_diagnostics import (
    add_point,
    effective_rank,
    generated_weights,
    gram,
    last_point,
    produced_weights,
    step_sizes,
)
from cabench.models.model import build_initialised
from cabench.runtime.files import as_text

TIMES = (50.0, 275.0, 500.0, 725.0, 950.0)
SHARES = ("share_class", "share_time", "share_both")
MEASURES = {"static", "generated", "spread_class", "spread_time", "effective_rank", *SHARES}


def model_of(arm, std=0.1, **more):
    """The network of an arm; `std` of the methods' parameters, which else start at zero."""
    model = build_initialised(model_spec(**arm, **more), seed=0)
    g = torch.Generator().manual_seed(0)
    for p in model.methods.parameters() if std else ():
        torch.nn.init.normal_(p, std=std, generator=g)
    return model


def test_only_sites_with_generators_are_listed_and_start_at_zero():
    measured = generated_weights(model_of(METHODS["native+can-3"], std=0), {"label": 10}, "cpu")
    assert set(measured) == {"depthwise", "patch_embed", "attn_out"}
    assert all(set(entry) == MEASURES for entry in measured.values())
    assert all(entry["generated"] == entry["effective_rank"] == 0 for entry in measured.values())
    assert measured["attn_out"]["static"] > 0 and measured["attn_out"]["spread_class"] == 0
    assert measured["depthwise"]["static"] == 0 and measured["depthwise"]["spread_class"] is None
    assert generated_weights(model_of(METHODS["adaln_zero"]), {"label": 10}, "cpu") == {}


@pytest.mark.parametrize("site", ["patch_embed", "attn_out"])
def test_measures_by_hand(site):
    """One condition at a time; spreads as standard deviations, the rank from an SVD."""
    model = model_of(METHODS["can-unshared"])
    measured = generated_weights(model, {"label": 10}, "cpu")[site]
    blocks = ["blocks.0.attn.out", "blocks.1.attn.out"]
    expected = []
    for name in blocks if site == "attn_out" else [site]:
        matrix = model.methods["can"].generators[name.replace(".", "_")].weight
        weights = torch.zeros(5, 10, matrix.shape[0])
        for i, t in enumerate(TIMES):
            for label in range(10):
                embedded = model.embedder(torch.tensor([t]), {"label": torch.tensor([label])})
                c = (embedded["timestep"] + embedded["label"])[0] / 2**0.5
                weights[i, label] = matrix @ torch.nn.functional.silu(c)
        weights = weights.detach().double().numpy()
        flat = weights.reshape(50, -1)
        p = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
        p = p[p > 0] / p.sum()
        centred = weights - weights.mean((0, 1))
        time, label = centred.mean(1, keepdims=True), centred.mean(0, keepdims=True)
        parts = [
            (np.broadcast_to(part, centred.shape) ** 2).sum() / (centred**2).sum()
            for part in (label, time, centred - time - label)
        ]
        expected.append(
            [
                model.backbone.get_parameter(f"{name}.weight").norm().item(),
                np.linalg.norm(flat, axis=1).mean(),
                np.sqrt(weights.var(axis=1).sum(-1)).mean(),
                np.sqrt(weights.var(axis=0).sum(-1)).mean(),
                np.exp(-(p * np.log(p)).sum()),
                *parts,
            ]
        )
    static, size, over_class, over_time, rank, *parts = np.mean(expected, axis=0)
    assert measured == {
        "static": pytest.approx(static, rel=1e-4),
        "generated": pytest.approx(size, rel=1e-4),
        "spread_class": pytest.approx(over_class / static, rel=1e-4),
        "spread_time": pytest.approx(over_time / static, rel=1e-4),
        "effective_rank": pytest.approx(rank, rel=1e-4),
    } | {name: pytest.approx(part, rel=1e-3) for name, part in zip(SHARES, parts, strict=True)}
    assert sum(parts) == pytest.approx(1)


@pytest.mark.parametrize("generator", ["linear", "bottleneck"])
def test_a_linear_generator_shows_no_interaction(generator):
    """Label and timestep add up in it; with the SiLU before it, they interact."""
    for activation, low, high in (("none", 0, 1e-6), ("silu", 0.02, 0.98)):
        can = method("can", activation=activation, generator=generator, rank=6)
        if generator == "linear":
            del can["options"]["rank"]
        measured = generated_weights(model_of(dict(methods=[can])), {"label": 10}, "cpu")
        for entry in measured.values():
            assert low <= entry["share_both"] <= high
            assert sum(entry[name] for name in SHARES) == pytest.approx(1, abs=1e-4)


def test_the_size_of_a_step_is_that_of_adam():
    """Adam's first step moves W by the rate; W_c by the rate times the sum of |c|."""
    model = model_of(METHODS["can-3"], std=0)
    x, label = torch.randn(8, 1, 8, 8), torch.arange(8)
    t = torch.full((8,), 500.0)
    torch.nn.init.normal_(model.backbone.head.weight)
    generators = model.methods.parameters()
    optimiser = torch.optim.Adam([*generators, model.backbone.patch_embed.weight], lr=1e-3)
    before = produced_weights(model, {"label": 10}, "cpu")
    model(x, t, {"label": label}).square().mean().backward()
    optimiser.step()
    sizes = step_sizes(before, produced_weights(model, {"label": 10}, "cpu"))["patch_embed"]
    assert sizes["step_static"] == pytest.approx(1e-3, rel=1e-2)
    assert 2e-3 < sizes["step_generated"] < 1e-3 * 32  # signs of c agree only in part


@pytest.mark.parametrize(("stream", "other"), [("label", "timestep"), ("timestep", "label")])
def test_no_spread_over_a_stream_outside_the_source(stream, other):
    arm = dict(methods=[method("can", source=[stream])], affine=True)
    spreads = {"label": "spread_class", "timestep": "spread_time"}
    for entry in generated_weights(model_of(arm), {"label": 10}, "cpu").values():
        if entry["static"]:
            assert entry[spreads[other]] == 0 < entry[spreads[stream]]
        conditions = 10 if stream == "label" else 5
        assert 1 < entry["effective_rank"] <= conditions - 1 + 1e-4


def test_effective_rank_of_known_cases():
    g = torch.Generator().manual_seed(0)
    direction, sizes = torch.randn(7, generator=g), torch.randn(20, generator=g)
    offset = 100 * torch.randn(7, generator=g)
    line = sizes[:, None] * direction + offset  # one direction; the mean does not count
    assert effective_rank(gram(line)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(gram(5 * torch.eye(9))) == pytest.approx(8)  # the mean takes one of nine
    assert effective_rank(gram(offset.expand(20, 7))) == 0
    two = torch.tensor([[1.0, 0], [-1, 0], [0, 3], [0, -3]])  # variances 1 and 9
    p = np.array([0.1, 0.9])
    assert effective_rank(gram(two)) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_a_gram_matrix_in_parts_equals_the_full_one():
    weights = torch.randn(6, 700, 200, generator=torch.Generator().manual_seed(0))
    rows = weights.flatten(1).double()
    torch.testing.assert_close(gram(weights), rows @ rows.T)


def test_many_classes_are_sampled_evenly():
    model = build_initialised(model_spec(**METHODS["can-3"], classes={"label": 100}), seed=0)
    calls = []
    condition = model.condition
    model.condition = lambda t, streams, drop: (
        calls.append((t, streams)) or condition(t, streams, drop)
    )
    generated_weights(model, {"label": 100}, "cpu")
    ((t, streams),) = calls
    assert streams["label"].view(5, 16)[3].tolist() == [i * 100 // 16 for i in range(16)]
    assert t.view(5, 16)[:, 7].tolist() == list(TIMES)


def test_no_random_number_is_drawn():
    model = model_of(METHODS["can-3"])
    before = torch.get_rng_state()
    generated_weights(model, {"label": 10}, "cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_a_history_has_every_point_and_stays_small():
    measured = generated_weights(model_of(METHODS["can-all"], depth=12), {"label": 10}, "cpu")
    assert len(measured) == 7
    history = {}
    for k in range(1, 11):
        add_point(history, 512_000 * k, measured)
    assert history["images"] == [512_000 * k for k in range(1, 11)]
    assert {len(v) for s in history["sites"].values() for v in s.values()} == {10}
    assert last_point(history) == measured
    curve = {
        "images": [51_200 * k for k in range(1, 101)],
        "loss": [0.123456] * 100,
        "heldout": {"images": history["images"], "loss": [0.123456] * 10},
    }
    assert len(as_text(curve | {"weights": history})) < 15_000


def test_without_generators_a_history_is_empty():
    history = {}
    add_point(history, 100, {})
    assert history == {} == last_point(history)
