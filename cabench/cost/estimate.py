"""How long a trial may take: a few training steps timed here and now, for --dry-run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from cabench.process import one_thread
from cabench.timing import Work, step_of

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
        step = step_of(spec, batch, device)
        return min(_seconds(step, device) for _ in range(4)) / batch


def _seconds(step: Work, device: str) -> float:
    began = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began
