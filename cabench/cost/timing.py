"""Times that are compared: alternating in one process, on one thread, as ratios round by round.

A ratio's interval holds the median of the rounds' ratios with 95 % confidence (order statistics,
binomial); it says nothing of another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from cabench.config.cost_study import Layer
from cabench.data.dataset import Split
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.process import Process, sample
from cabench.diffusion.training import RECIPE, Trainer
from cabench.models.embedding import TEXT_TOKENS
from cabench.models.model import build_initialised
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import SiteDepthwise, SiteLinear
from cabench.records.spec import DataSpec, DiffusionSpec, ModelSpec, RecipeSpec, TrainSpec
from cabench.runtime.threads import one_thread
from cabench.text import Encoded

Work = Callable[[], Any]
SAMPLING_STEPS = 8
MORE = 10  # times the rounds asked, at most
DIFFUSION = DiffusionSpec(prediction="v", schedule="cosine")


@dataclass(frozen=True)
class Ratio:
    """Of two times, over the rounds of one run."""

    median: float
    low: float
    high: float
    rounds: int


def alternate(work: Mapping[str, Work], rounds: int, seconds: float = 0) -> dict[str, np.ndarray]:
    """Seconds of each by round; the order turns round with every round.

    So many rounds, and more (at most MORE times as many) until `seconds` are over.
    """
    with one_thread():
        for run in work.values():  # warm: caches, lazy initialisation
            run()
            run()
        spent: dict[str, list[float]] = {name: [] for name in work}
        start, done = time.perf_counter(), 0
        while done < rounds or (done < MORE * rounds and time.perf_counter() - start < seconds):
            names = list(work) if done % 2 == 0 else list(work)[::-1]
            for name in names:
                began = time.perf_counter()
                work[name]()
                spent[name].append(time.perf_counter() - began)
            done += 1
    return {name: np.array(seconds) for name, seconds in spent.items()}


def ratio(of: np.ndarray, over: np.ndarray) -> Ratio:
    """of / over round by round: median, and the interval that holds it with 95 % confidence."""
    found = np.sort(of / over)
    n = len(found)
    k = int(binom.ppf(0.025, n, 0.5))  # so many may lie outside at each end
    return Ratio(
        float(np.median(found)), float(found[max(k - 1, 0)]), float(found[min(n - k, n - 1)]), n
    )


def trainer_of(
    spec: ModelSpec, batch: int, device: str = "cpu", precision: str = "float32"
) -> tuple[Trainer, Data, Order]:
    """The trainer that a trial of this model has, on random images."""
    train = TrainSpec(
        recipe=RECIPE,
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
    g, embedder = np.random.default_rng(0), spec.embedder
    texts, tokens = embedder.text or {}, spec.text_tokens or TEXT_TOKENS
    shape = (4 * batch, *spec.backbone.shape)
    split = Split(
        images=g.integers(0, 256, shape, np.uint8),
        streams={name: g.integers(0, k, shape[0]) for name, k in embedder.classes.items()},
        encoded={name: _text(g, width, tokens, shape[0]) for name, width in texts.items()},
    )
    data = Data(split, embedder.streams)
    return Trainer(train, device), data, Order(len(data), batch, 0)


def _text(g: np.random.Generator, width: int, tokens: int, n: int) -> Encoded:
    """Random features of n pictures, all of one text of `tokens`."""
    features = g.standard_normal((1 + tokens, width), np.float32)
    one = np.ones(1, np.int64)
    zeros, ones = np.zeros((n, 1), np.int64), np.ones(n, np.int64)
    return Encoded(features, one, one * tokens, zeros, ones, tokens)


def step_of(spec: ModelSpec, batch: int, device: str = "cpu") -> Work:
    """A training step as trials take it: batch, noise, forward, backward, AdamW, EMA."""
    trainer, data, order = trainer_of(spec, batch, device)
    return lambda: trainer.step(data, order)


def sampling_of(spec: ModelSpec, batch: int) -> Work:
    """A sampling run as studies make it, without guidance: SAMPLING_STEPS steps of a batch."""
    model = build_initialised(spec, 0).eval()
    process, shape = Process(DIFFUSION.prediction, DIFFUSION.schedule), spec.backbone.shape
    g, classes = torch.Generator().manual_seed(0), spec.embedder.classes
    streams = {name: torch.randint(k, (batch,), generator=g) for name, k in classes.items()}
    return lambda: sample(model, process, streams, shape, 0, steps=SAMPLING_STEPS, batch=batch)


def layer_of(layer: Layer) -> dict[str, Work]:
    """Forward and backward of one layer, its weights being there: by LAYER_FORMS.

    Each returns its output, and the gradients of the input and the generated weights.
    """
    g = torch.Generator().manual_seed(0)
    tokens = layer.grid[0] * layer.grid[1]
    if layer.kind == "linear":
        made = SiteLinear("ffn_in", layer.inputs, layer.outputs or layer.inputs)
    else:
        made = SiteDepthwise(layer.inputs, layer.grid)
    made.address = "layer"
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(std=0.02, generator=g)
    x = torch.randn(layer.batch, tokens, layer.inputs, generator=g, requires_grad=True)
    delta = torch.randn(layer.batch, *made.weight.shape, generator=g).mul_(0.02).requires_grad_()

    def run(forward: Callable[[], torch.Tensor]) -> Work:
        def work() -> tuple[torch.Tensor | None, ...]:
            y = forward()
            y.square().mean().backward()
            made_of = y.detach(), x.grad, delta.grad
            x.grad = delta.grad = None
            made.zero_grad()
            return made_of

        return work

    def loop() -> torch.Tensor:
        each = zip(x.split(1), delta.split(1), strict=True)
        given = ((one, Conditioning(operations={"layer": [DenseDelta(d)]})) for one, d in each)
        return torch.cat([made(one, told) for one, told in given])

    fused = Conditioning(operations={"layer": [DenseDelta(delta)]})
    return {
        "static": run(lambda: made(x, Conditioning())),
        "loop": run(loop),
        "fused": run(lambda: made(x, fused)),
    }
