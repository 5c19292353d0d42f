"""How long a trial may take: a few training steps timed here and now, for --dry-run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from cabench.models.model import build_initialised
from cabench.process import one_thread

LARGE = 1e9  # MACs: above, one arm is timed and the others follow by their MACs
PROBE_MACS = 20e9  # a timed step holds at most so many


def seconds_per_image(
    models: Mapping[str, Mapping[str, Any]],  # model spec by arm
    macs: Mapping[str, int],  # of one evaluation, by arm
    baseline: str,
    batch: int,
    device: str,
) -> dict[str, float]:
    """Seconds of training for one picture, by arm: best of four steps, on a CPU by one thread."""
    if macs[baseline] > LARGE:
        pace = _timed(models[baseline], batch, macs[baseline], device) / macs[baseline]
        return {arm: pace * macs[arm] for arm in models}
    return {arm: _timed(models[arm], batch, macs[arm], device) for arm in models}


def _timed(spec: Mapping[str, Any], batch: int, macs: int, device: str) -> float:
    batch = max(1, min(batch, int(PROBE_MACS / (3 * macs))))
    with one_thread():
        model = build_initialised(spec, 0).to(device)
        optimiser = torch.optim.AdamW(model.parameters(), fused=True)
        x = torch.randn(batch, *spec["backbone"]["shape"], device=device)
        t = torch.rand(batch, device=device) * 1000
        classes = spec["embedder"]["classes"]
        streams = {name: torch.randint(n, (batch,), device=device) for name, n in classes.items()}
        return min(_step(model, optimiser, x, t, streams) for _ in range(4)) / batch


def _step(model, optimiser, x, t, streams) -> float:
    began = time.perf_counter()
    (model(x, t, streams) - x).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began
