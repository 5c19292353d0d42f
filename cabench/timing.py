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

from cabench.cost.spec import Layer
from cabench.diffusion import Process, sample
from cabench.models.model import build_initialised
from cabench.models.sites import DenseDelta, Given, SiteDepthwise, SiteLinear
from cabench.process import one_thread

Work = Callable[[], Any]
SAMPLING_STEPS = 8


@dataclass(frozen=True)
class Ratio:
    """Of two times, over the rounds of one run."""

    median: float
    low: float
    high: float
    rounds: int


def alternate(work: Mapping[str, Work], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each, (rounds,); the order turns round with every round."""
    with one_thread():
        for run in work.values():  # warm: caches, lazy initialisation
            run()
            run()
        spent: dict[str, list[float]] = {name: [] for name in work}
        for r in range(rounds):
            names = list(work) if r % 2 == 0 else list(work)[::-1]
            for name in names:
                began = time.perf_counter()
                work[name]()
                spent[name].append(time.perf_counter() - began)
    return {name: np.array(seconds) for name, seconds in spent.items()}


def ratio(of: np.ndarray, over: np.ndarray) -> Ratio:
    """of / over round by round: median, and the interval that holds it with 95 % confidence."""
    found = np.sort(of / over)
    n = len(found)
    k = int(binom.ppf(0.025, n, 0.5))  # so many may lie outside at each end
    return Ratio(float(np.median(found)), float(found[max(k - 1, 0)]),
                 float(found[min(n - k, n - 1)]), n)  # fmt: skip


def step_of(spec: Mapping[str, Any], batch: int) -> Work:
    """A training step: forward, backward, AdamW."""
    model = build_initialised(spec, 0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    x, t, streams = _inputs(spec, batch)

    def step() -> None:
        (model(x, t, streams) - x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def sampling_of(spec: Mapping[str, Any], batch: int) -> Work:
    """A sampling run as studies make it, without guidance: SAMPLING_STEPS steps of a batch."""
    model = build_initialised(spec, 0).eval()
    process, (_, _, streams) = Process("v", "cosine"), _inputs(spec, batch)
    shape = tuple(spec["backbone"]["shape"])
    return lambda: sample(model, process, streams, shape, 0, steps=SAMPLING_STEPS, batch=batch)


def _inputs(spec: Mapping[str, Any], batch: int) -> tuple[torch.Tensor, torch.Tensor, dict]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *spec["backbone"]["shape"], generator=g)
    t = torch.rand(batch, generator=g) * 1000
    classes = spec["embedder"]["classes"]
    streams = {n: torch.randint(k, (batch,), generator=g) for n, k in classes.items()}
    return x, t, streams


def layer_of(layer: Layer) -> dict[str, Work]:
    """Forward and backward of one layer, its weights being there: by LAYER_FORMS."""
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
        def work() -> None:
            forward().square().mean().backward()
            x.grad = delta.grad = None
            made.zero_grad()

        return work

    def one(i: int) -> Given:
        return Given(operations={"layer": [DenseDelta(delta[i : i + 1])]})

    def loop() -> torch.Tensor:
        return torch.cat([made(x[i : i + 1], one(i)) for i in range(layer.batch)])

    fused = Given(operations={"layer": [DenseDelta(delta)]})
    return {
        "static": run(lambda: made(x, Given())),
        "loop": run(loop),
        "fused": run(lambda: made(x, fused)),
    }
