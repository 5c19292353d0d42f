"""Estimates of a trial's time for --dry-run, from timed training steps or from MACs."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from cabench.config.scale import Resources
from cabench.cost.timing import Work, step_of
from cabench.records.spec import ModelSpec
from cabench.runtime.threads import one_thread

LARGE = 1e9  # MACs: above, one arm is timed and the others follow by their MACs
PROBE_MACS = 20e9  # a timed step has at most this many


def seconds_per_image(
    models: Mapping[str, ModelSpec],  # model spec by arm
    macs: Mapping[str, int],  # of one evaluation, by arm
    baseline: str,
    batch: int,
    device: str,
) -> dict[str, float]:
    """Seconds of training per image, by arm: the best of four steps; one thread on a CPU."""
    if macs[baseline] > LARGE:
        pace = _timed(models[baseline], batch, macs[baseline], device) / macs[baseline]
        return {arm: pace * macs[arm] for arm in models}
    return {arm: _timed(models[arm], batch, macs[arm], device) for arm in models}


def stated_seconds_per_image(macs: Mapping[str, int], resources: Resources) -> dict[str, float]:
    """The same from MACs, for one GPU with the scale's stated peak and utilisation.

    A MAC is two operations; a training step counts as three forward passes.
    """
    assert resources.peak_tflops is not None
    speed = resources.peak_tflops * 1e12 * resources.utilisation
    return {arm: 3 * 2 * count / speed for arm, count in macs.items()}


def _timed(spec: ModelSpec, batch: int, macs: int, device: str) -> float:
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
