"""Paired timings: work alternates in one process, on one thread; ratios are taken per round.

A ratio's interval covers the median of the per-round ratios with 95 % confidence (binomial order
statistics). It does not carry over to another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from cabench.config.cost_study import Layer
from cabench.data.dataset import Split
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import sample
from cabench.diffusion.training import DRAWS, RECIPE, Trainer
from cabench.models.embedding import TEXT_TOKENS
from cabench.models.model import build_initialised
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import SiteDepthwise, SiteLinear
from cabench.models.streams import take
from cabench.records.spec import DataSpec, DiffusionSpec, ModelSpec, RecipeSpec, TrainSpec
from cabench.runtime.devices import room_for_split
from cabench.runtime.threads import one_thread
from cabench.text import Encoded

Work = Callable[[], Any]
SAMPLING_STEPS = 8
MAX_ROUNDS = 10  # times the requested rounds
DIFFUSION = DiffusionSpec(prediction="v", schedule="cosine")


@dataclass(frozen=True)
class Ratio:
    """The ratio of two times over the rounds of one run."""

    median: float
    low: float
    high: float
    rounds: int


def alternate(work: Mapping[str, Work], rounds: int, seconds: float = 0) -> dict[str, np.ndarray]:
    """Seconds of each work by round. The order is reversed in every second round.

    Runs at least `rounds` rounds, and more until `seconds` have passed, at most MAX_ROUNDS times
    as many.
    """
    with one_thread():
        for run in work.values():  # warm-up: caches, lazy initialisation
            run()
            run()
        spent: dict[str, list[float]] = {name: [] for name in work}
        start, done = time.perf_counter(), 0
        while done < rounds or (
            done < MAX_ROUNDS * rounds and time.perf_counter() - start < seconds
        ):
            names = list(work) if done % 2 == 0 else list(work)[::-1]
            for name in names:
                began = time.perf_counter()
                work[name]()
                spent[name].append(time.perf_counter() - began)
            done += 1
    return {name: np.array(seconds) for name, seconds in spent.items()}


def ratio(of: np.ndarray, over: np.ndarray) -> Ratio:
    """The median of of / over per round, with its 95 % confidence interval."""
    from scipy.stats import binom  # here: the timings themselves do without it

    ratios = np.sort(of / over)
    n = len(ratios)
    k = int(binom.ppf(0.025, n, 0.5))  # ratios outside the interval at each end
    low, high = ratios[max(k - 1, 0)], ratios[min(n - k, n - 1)]
    return Ratio(float(np.median(ratios)), float(low), float(high), n)


def trainer_of(
    spec: ModelSpec,
    batch: int,
    device: str = "cpu",
    precision: str = "float32",
    graphed: int | None = None,  # version of the step compiled for a GPU; None: not compiled
) -> tuple[Trainer, Data, Order]:
    """The trainer of a trial with this model, on random images."""
    train = TrainSpec(
        recipe=RECIPE,
        graphed=graphed,
        model=spec,
        data=DataSpec(source="random", fingerprint=None, flip=False),
        training=RecipeSpec(
            batch=batch,
            lr=1e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            warmup=1,
            ema_half_life=1000,
            label_dropout=0.1,
            clip=None,
            precision=precision,
        ),
        diffusion=DIFFUSION,
        seed=0,
        init_salt="",
    )
    if device.startswith("cuda"):
        train = train.model_copy(update={"draws": DRAWS})
    g, embedder = np.random.default_rng(0), spec.embedder
    texts, tokens = embedder.text or {}, spec.text_tokens or TEXT_TOKENS
    shape = (4 * batch, *spec.backbone.shape)
    split = Split(
        images=g.integers(0, 256, shape, np.uint8),
        streams={name: g.integers(0, k, shape[0]) for name, k in embedder.classes.items()},
        encoded={name: _text(g, width, tokens, shape[0]) for name, width in texts.items()},
        vectors={
            name: g.standard_normal((shape[0], numbers), np.float32)
            for name, numbers in (embedder.vectors or {}).items()
        },
        maps={
            name: g.integers(0, 256, (shape[0], *size), np.uint8)
            for name, size in (embedder.maps or {}).items()
        },
    )
    data = Data(split, embedder.streams, device, room_for_split(device))
    return Trainer(train, device), data, Order(len(data), batch, 0)


def _text(g: np.random.Generator, width: int, tokens: int, n: int) -> Encoded:
    """Random features of n images that share one text of `tokens` tokens."""
    features = g.standard_normal((1 + tokens, width), np.float32)
    one = np.ones(1, np.int64)
    zeros, ones = np.zeros((n, 1), np.int64), np.ones(n, np.int64)
    return Encoded(features, one, one * tokens, zeros, ones, tokens)


def step_of(spec: ModelSpec, batch: int, device: str = "cpu") -> Work:
    """A training step as in a trial: batch, noise, forward, backward, AdamW, EMA."""
    trainer, data, order = trainer_of(spec, batch, device)
    return lambda: trainer.step(data, order)


def sampling_of(spec: ModelSpec, batch: int) -> Work:
    """Sampling a batch as in a trial, without guidance, in SAMPLING_STEPS steps."""
    model = build_initialised(spec, 0).eval()
    process, shape = Process(DIFFUSION.prediction, DIFFUSION.schedule), spec.backbone.shape
    g, classes = torch.Generator().manual_seed(0), spec.embedder.classes
    streams = {name: torch.randint(k, (batch,), generator=g) for name, k in classes.items()}
    at = partial(take, streams)
    return lambda: sample(model, process, at, batch, shape, 0, steps=SAMPLING_STEPS, batch=batch)


def layer_of(layer: Layer) -> dict[str, Work]:
    """Forward and backward passes of one layer whose weights are already generated, by form.

    Each returns the output, and the gradients of the input and the generated weights.
    """
    g = torch.Generator().manual_seed(0)
    tokens = layer.grid[0] * layer.grid[1]
    if layer.kind == "linear":
        site = SiteLinear("ffn_in", layer.inputs, layer.outputs or layer.inputs)
    else:
        site = SiteDepthwise(layer.inputs, layer.grid)
    site.address = "layer"
    with torch.no_grad():
        for p in site.parameters():
            p.normal_(std=0.02, generator=g)
    x = torch.randn(layer.batch, tokens, layer.inputs, generator=g, requires_grad=True)
    delta = torch.randn(layer.batch, *site.weight.shape, generator=g).mul_(0.02).requires_grad_()

    def run(forward: Callable[[], torch.Tensor]) -> Work:
        def work() -> tuple[torch.Tensor | None, ...]:
            y = forward()
            y.square().mean().backward()
            results = y.detach(), x.grad, delta.grad
            x.grad = delta.grad = None
            site.zero_grad()
            return results

        return work

    def loop() -> torch.Tensor:
        samples = zip(x.split(1), delta.split(1), strict=True)
        return torch.cat([site(one, _conditioned(weights)) for one, weights in samples])

    fused = _conditioned(delta)
    return {
        "static": run(lambda: site(x, Conditioning())),
        "loop": run(loop),
        "fused": run(lambda: site(x, fused)),
    }


def _conditioned(delta: torch.Tensor) -> Conditioning:
    """The conditioning of a layer at address 'layer' by generated weights."""
    return Conditioning(operations={"layer": [DenseDelta(delta)]})
