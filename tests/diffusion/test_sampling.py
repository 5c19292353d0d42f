"""Processes and samplers, on data whose exact network is known."""

from functools import partial

import pytest
import torch
from specs import METHODS, model_spec

from cabench.diffusion.process import SCHEDULES, Process, alphas_cumprod
from cabench.diffusion.sampling import (
    SAMPLERS,
    USUAL,
    Guide,
    misfit,
    no_grid,
    sample,
    solver,
    version,
)
from cabench.errors import CabenchError
from cabench.models.model import build_initialised
from cabench.models.streams import distinct, take
from cabench.runtime.images import to_float, to_uint8
from cabench.runtime.rng import generator

SETTINGS = [("flow", "linear")] + [
    (p, s) for p in ("eps", "v") for s in ("linear", "sqrt_linear", "cosine")
]


M, S = 0.3, 0.2  # mean and standard deviation of the data


class Gaussian(torch.nn.Module):
    """The exact network for data N(M, S^2) in every pixel."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, x, t, streams=None, drop=None, index=None, cache=None):
        alpha, sigma = self.process.levels(t[:1])
        x0 = M + alpha * S**2 / (alpha**2 * S**2 + sigma**2) * (x - alpha * M)
        eps = (x - alpha * x0) / sigma
        exact = {"eps": eps, "v": alpha * eps - sigma * x0, "flow": eps - x0}
        return exact[self.process.prediction]


def draw(prediction, schedule, sampler, steps):
    """4,096 pixels before they are rounded."""
    process, values = Process(prediction, schedule), []

    def decode(x):
        values.append(x.double())
        return to_uint8(x)

    sample(
        Gaussian(process),
        process,
        lambda index: {"label": torch.zeros(len(index), dtype=torch.long)},
        64,
        (1, 8, 8),
        seed=0,
        sampler=sampler,
        steps=steps,
        decode=decode,
    )
    return torch.cat(values)


@pytest.mark.parametrize("steps", [250, 334, 499])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("prediction", "schedule"), SETTINGS)
def test_samplers_converge_to_the_distribution_of_the_data(prediction, schedule, sampler, steps):
    """Also at numbers of steps that do not divide 1000, unless they are refused."""
    process = Process(prediction, schedule)
    if misfit(process, sampler) or no_grid(process, sampler, steps):
        with pytest.raises(CabenchError):
            draw(prediction, schedule, sampler, steps)
        return
    drawn = draw(prediction, schedule, sampler, steps)
    assert drawn.mean().item() == pytest.approx(M, abs=0.012)
    slow = schedule == "sqrt_linear" or sampler == "ddpm"  # at a few hundred steps
    assert drawn.std().item() == pytest.approx(S, rel=0.1 if slow else 0.04)


def test_samplers_that_do_not_fit_a_process_are_refused():
    refused = {
        (prediction, schedule, sampler)
        for prediction, schedule in SETTINGS
        for sampler in SAMPLERS
        if misfit(Process(prediction, schedule), sampler)
    }
    flows = {("flow", "linear", sampler) for sampler in ("ddim", "ddpm")}
    assert refused == flows | {("eps", "cosine", sampler) for sampler in ("unipc", "ddpm")}


def test_every_sampler_has_a_grid_of_every_usual_number_of_steps():
    fitting = [
        (process, sampler)
        for process in (Process("flow", "linear"), Process("v", "cosine"), Process("v", "linear"))
        for sampler in SAMPLERS
        if not misfit(process, sampler)
    ]
    for process, sampler in fitting:
        for steps in (*range(1, 61), *range(70, USUAL, 30), USUAL):
            scheduler = SAMPLERS[sampler].build(process)
            scheduler.set_timesteps(steps)
            assert torch.equal(scheduler.timesteps, solver(process, sampler, steps).timesteps)
            assert len(scheduler.timesteps) == steps
    assert no_grid(Process("v", "linear"), "unipc", 499) and not no_grid(
        Process("v", "linear"), "ddpm", 499
    )
    assert no_grid(Process("v", "cosine"), "dpmpp_2m", 1000)  # its first time is 996


def test_a_grid_that_is_set_here_has_a_version_of_its_own():
    cosine, linear = Process("v", "cosine"), Process("v", "linear")
    assert version(cosine, "dpmpp_2m", 12) == version(cosine, "dpmpp_2m", 249) == 1
    assert version(cosine, "dpmpp_2m", 250) == 2  # diffusers' has 249
    assert version(linear, "dpmpp_2m", 250) == 1 and version(linear, "dpmpp_2m", 499) == 2
    assert version(linear, "ddim", 30) == 2 and version(linear, "ddim", 499) == 3


@pytest.mark.parametrize("steps", [10, 30, 334])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_is_its_published_recursion(schedule, steps):
    """Song et al., arXiv 2010.02502, eq. 12 with eta = 0, in float64, pixel by pixel."""
    process = Process("eps", schedule)
    times = solver(process, "ddim", steps).timesteps
    bar = alphas_cumprod(schedule)
    x = torch.stack(
        [torch.randn((1, 8, 8), generator=generator(0, "sample", i)) for i in range(64)]
    ).double()
    for i, t in enumerate(times):
        a, sigma = bar[t].sqrt(), (1 - bar[t]).sqrt()
        x0 = M + a * S**2 / (a**2 * S**2 + sigma**2) * (x - a * M)
        eps = (x - a * x0) / sigma
        after = bar[times[i + 1]] if i + 1 < steps else torch.tensor(1.0).double()
        x = after.sqrt() * x0 + (1 - after).sqrt() * eps
    torch.testing.assert_close(draw("eps", schedule, "ddim", steps), x, rtol=1e-3, atol=1e-3)


def test_samples_that_are_not_finite_are_an_error():
    process = Process("flow", "linear")
    with pytest.raises(CabenchError, match="samples are not finite after 4 steps of dpmpp_2m"):
        sample(
            lambda x, *_: x / 0,
            process,
            lambda index: {"label": torch.zeros(len(index), dtype=torch.long)},
            2,
            (1, 4, 4),
            seed=0,
            steps=4,
        )


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
    streams, n, shape = partial(take, {"label": torch.arange(10)}), 10, (1, 8, 8)
    at_once, in_parts = (
        sample(model, process, streams, n, shape, seed=3, steps=4, batch=b) for b in (10, 3)
    )
    assert (at_once.int() - in_parts.int()).abs().max() <= 1
    other = sample(model, process, streams, n, shape, seed=4, steps=4)
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


def test_autoguidance_extrapolates_from_the_weak_network():
    model, weak = trained_like(), trained_like(seed=1)
    streams = {"label": torch.tensor([3, 1, 3])}
    x, guide = torch.randn(3, 1, 8, 8), Guide(model, 3.0, streams, "cpu", weak=weak)
    for t in torch.tensor([900.0, 300.0]):  # each network has its own cache
        own, other = (network(x, t.expand(3), streams) for network in (model, weak))
        assert not torch.allclose(own, other, atol=1e-2)
        expected = other + 3 * (own - other)
        torch.testing.assert_close(guide(x, t), expected, rtol=1e-4, atol=1e-4)


def test_equal_conditions_are_embedded_once_while_sampling():
    model, rows = trained_like(), []
    model.embedder.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    streams = partial(take, {"label": torch.tensor([3, 1, 3, 0, 1, 1])})
    process, shape = Process("flow", "linear"), (1, 8, 8)
    for guidance, conditions in ((1.0, 3), (2.0, 4)):  # the null condition is one more
        rows.clear()
        sample(model, process, streams, 6, shape, seed=0, steps=2, guidance=guidance)
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


def test_guidance_acts_within_its_interval():
    """Its borders are inside; outside the prediction is the conditional one."""
    model = trained_like()
    streams = {"label": torch.tensor([0, 1, 1])}
    x = torch.randn(3, 1, 8, 8)
    within = Guide(model, 3.0, streams, "cpu", interval=(0.2, 0.6))
    guided, unguided = Guide(model, 3.0, streams, "cpu"), Guide(model, 1.0, streams, "cpu")
    for t, expected in ((100.0, unguided), (200.0, guided), (600.0, guided), (601.0, unguided)):
        time = torch.tensor(t)
        assert torch.allclose(within(x, time), expected(x, time), atol=1e-6)
    assert not torch.allclose(guided(x, time), unguided(x, time), atol=1e-2)
