"""Estimates of a run's time for --dry-run, from timed training steps or from MACs."""

from __future__ import annotations

import contextlib
import heapq
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from cabench.config.scale import Resources
from cabench.cost.timing import Work, step_of
from cabench.records.spec import ModelSpec
from cabench.runtime.threads import one_thread

LARGE = 1e9  # MACs: above, one arm is timed and the others follow by their MACs
PROBE_MACS = 20e9  # a timed step has at most this many
STEPS = 5  # that are timed
MOST_BESIDE = 15  # processes that train beside the timed steps
READY = 60  # seconds until these must have started


def seconds_per_image(
    models: Mapping[str, ModelSpec],  # model spec by arm
    macs: Mapping[str, int],  # of one evaluation, by arm
    baseline: str,
    batch: int,
    device: str,
) -> dict[str, float]:
    """Seconds of training per image, by arm: the median of some steps; one thread on a CPU."""
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


def makespan(seconds: Sequence[float], side: int) -> float:
    """The time until all work is done, each taken by the first of `side` workers that is free."""
    free = [0.0] * side
    for work in seconds:
        heapq.heapreplace(free, free[0] + work)
    return max(free)


@contextlib.contextmanager
def beside(count: int, spec: ModelSpec, batch: int) -> Iterator[None]:
    """Within it, so many processes train the model, as trials side by side do.

    They share caches, memory and the units of a core with what is timed: steps of a small network
    take twice as long on two threads of one core.
    """
    context = get_context("spawn")
    pairs = [context.Pipe(duplex=False) for _ in range(min(count, MOST_BESIDE))]
    processes = [
        context.Process(target=_train, args=(sender, spec, batch), daemon=True)
        for _, sender in pairs
    ]
    try:
        for process in processes:
            process.start()
        until = time.monotonic() + READY
        for receiver, sender in pairs:
            sender.close()
            receiver.poll(max(0.0, until - time.monotonic()))
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _train(sender: Connection, spec: ModelSpec, batch: int) -> None:
    """Trains until this process is ended, or the one that started it has ended."""
    parent = os.getppid()
    with one_thread():
        step = step_of(spec, batch, "cpu")
        step()
        sender.send(True)
        while os.getppid() == parent:
            step()


def _timed(spec: ModelSpec, batch: int, macs: int, device: str) -> float:
    batch = max(1, min(batch, int(PROBE_MACS / (3 * macs))))
    with one_thread():
        step = step_of(spec, batch, device)
        _seconds(step, device)
        return statistics.median(_seconds(step, device) for _ in range(STEPS)) / batch


def _seconds(step: Work, device: str) -> float:
    """Of the processor, on a CPU: other work on the machine is not counted."""
    if not device.startswith("cuda"):
        began = time.process_time()
        step()
        return time.process_time() - began
    began = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - began
