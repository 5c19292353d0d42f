"""Processes and samplers, against closed forms."""

import pytest
import torch
from specs import METHODS, model_spec

from cabench.diffusion.process import (
    FLOW_SAMPLERS,
    SAMPLERS,
    Guide,
    Process,
    alphas_cumprod,
    sample,
)
from cabench.errors import CabenchError
from cabench.models.model import build_initialised
from cabench.models.streams import distinct
from cabench.runtime.images import to_float, to_uint8

SETTINGS = [("flow", "linear")] + [
    (p, s) for p in ("eps", "v") for s in ("linear", "sqrt_linear", "cosine")
]


class PointMass(torch.nn.Module):
    """The exact network for data that is one constant image c: eps = (x_t - alpha c) / sigma."""

    def __init__(self, process, c):
        super().__init__()
        self.process, self.c = process, c

    def forward(self, x, t, streams, drop=None, index=None, cache=None):
        alpha, sigma = self.process.levels(t if index is None else t[index])
        eps = (x - alpha * self.c) / sigma
        exact = {"eps": eps, "v": alpha * eps - sigma * self.c, "flow": eps - self.c}
        return exact[self.process.prediction]


@pytest.mark.parametrize(("prediction", "schedule"), SETTINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_the_point_mass(prediction, schedule, sampler):
    if prediction == "flow" and sampler not in FLOW_SAMPLERS:
        pytest.skip("refused when the study is planned")
    process = Process(prediction, schedule)
    drawn = sample(
        PointMass(process, 0.4),
        process,
        {"label": torch.zeros(4, dtype=torch.long)},
        (1, 4, 4),
        seed=0,
        sampler=sampler,
        steps=100 if sampler == "ddpm" else 20,
    )
    assert (drawn.float() - to_uint8(torch.tensor(0.4)).float()).abs().max() <= 3


@pytest.mark.parametrize(("prediction", "schedule"), SETTINGS)
def test_targets_give_back_the_image(prediction, schedule):
    process = Process(prediction, schedule)
    x, noise = torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4)
    t = process.times(torch.rand(8) * 0.9)
    noised, target = process.noisy(x, noise, t)
    alpha, sigma = process.levels(t)
    back = {
        "eps": lambda: (noised - sigma * target) / alpha,
        "v": lambda: alpha * noised - sigma * target,
        "flow": lambda: noised - sigma * target,
    }[prediction]()
    torch.testing.assert_close(back, x, rtol=1e-3, atol=1e-3)
    if prediction != "flow":
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))


def test_schedules_have_their_published_values():
    assert alphas_cumprod("linear")[-1] == pytest.approx(4.0e-5, rel=0.02)
    assert alphas_cumprod("sqrt_linear")[-1] == pytest.approx(0.0047, rel=0.02)
    assert alphas_cumprod("cosine")[499] == pytest.approx(0.4939, rel=0.01)  # cos^2 at the middle


def test_flow_refuses_another_path():
    with pytest.raises(CabenchError, match="flow"):
        Process("flow", "cosine")


def trained_like(seed=0):
    model = build_initialised(model_spec(**METHODS["can-3"]), seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(5)) * 0.05)
    return model.eval()


def test_samples_do_not_depend_on_the_batch():
    model, process = trained_like(), Process("flow", "linear")
    streams = {"label": torch.arange(10)}
    at_once, in_parts = (
        sample(model, process, streams, (1, 8, 8), seed=3, steps=4, batch=b) for b in (10, 3)
    )
    assert (at_once.int() - in_parts.int()).abs().max() <= 1
    other = sample(model, process, streams, (1, 8, 8), seed=4, steps=4)
    assert (at_once.int() - other.int()).abs().max() > 50


def test_guidance_extrapolates_from_the_null_condition():
    model = trained_like()
    labels = torch.tensor([3, 1, 3, 0, 1])
    x, streams = torch.randn(5, 1, 8, 8), {"label": labels}
    guide, unguided = Guide(model, 3.0, streams, "cpu"), Guide(model, 1.0, streams, "cpu")
    for t in torch.tensor([900.0, 300.0]):  # one trajectory: the second step uses the cache
        conditional = model(x, t.expand(5), streams)
        null = model(x, t.expand(5), streams, torch.ones(5, dtype=torch.bool))
        assert not torch.allclose(conditional, null, atol=1e-2)
        expected = null + 3 * (conditional - null)
        torch.testing.assert_close(guide(x, t), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(unguided(x, t), conditional, rtol=1e-4, atol=1e-4)


def test_equal_conditions_are_embedded_once_while_sampling():
    model, rows = trained_like(), []
    model.embedder.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    streams = {"label": torch.tensor([3, 1, 3, 0, 1, 1])}
    for guidance, conditions in ((1.0, 3), (2.0, 4)):  # the null condition is one more
        rows.clear()
        sample(
            model, Process("flow", "linear"), streams, (1, 8, 8), seed=0, steps=2, guidance=guidance
        )
        assert rows == [conditions] * 2


def test_distinct_rows_hold_every_condition_once():
    streams = {"label": torch.tensor([3, 1, 3, 0, 1]), "style": torch.tensor([0, 1, 0, 0, 0])}
    rows, index = distinct(streams)
    assert sorted(rows.tolist()) == [0, 1, 3, 4]  # the first of each
    for value in streams.values():
        assert torch.equal(value[rows][index], value)
    text = {"text": (torch.zeros(2, 3, 4), torch.ones(2, 3))}
    assert [v.tolist() for v in distinct(text)] == [[0, 1], [0, 1]]


def test_pixels_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(pixels)), pixels)
