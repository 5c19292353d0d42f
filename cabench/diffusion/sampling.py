"""Sampling: solvers on the time grid of a process, guidance, and the loop that draws samples.

The solvers are diffusers' schedulers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cabench.diffusion.process import STEPS, Process
from cabench.diffusion.ranks import ALONE, Ranks
from cabench.errors import CabenchError
from cabench.models.embedding import Cache
from cabench.models.streams import Streams, distinct, take
from cabench.runtime.devices import moved
from cabench.runtime.images import to_uint8
from cabench.runtime.rng import generator

Network = Callable[..., Tensor]  # a ConditionalModel, or what is called as one
USUAL = 200  # up to so many steps, diffusers' grids are right
CLIPPED = -5.1  # log(alpha / sigma) of the first step; the cosine schedule starts at -inf


# ---- solvers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampler:
    """A solver: how its diffusers scheduler is built, and what it can integrate."""

    # fmt: off
    build: Callable[[Process], Any]
    version: int = 1            # raise it when this sampler alone would give other samples
    flow: bool = False          # integrates rectified flows
    clipped: bool = False       # starts where log(alpha / sigma) is CLIPPED
    any_times: bool = True      # its scheduler takes a list of times
    # fmt: on


def _dpm_solver(order: int) -> Callable[[Process], Any]:
    """DPM-Solver++ (arXiv 2211.01095, multistep); the first order is DDIM (appendix B there)."""

    def build(process: Process) -> Any:
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        options = process.scheduler_options()
        if process.prediction != "flow":
            options["lambda_min_clipped"] = CLIPPED
        return DPMSolverMultistepScheduler(
            algorithm_type="dpmsolver++", solver_order=order, **options
        )

    return build


def _unipc(process: Process) -> Any:
    from diffusers import UniPCMultistepScheduler  # pyright: ignore[reportPrivateImportUsage]

    return UniPCMultistepScheduler(**process.scheduler_options())


def _ddpm(process: Process) -> Any:
    from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDPMScheduler(clip_sample=False, **process.scheduler_options())


SAMPLERS: dict[str, Sampler] = {
    "dpmpp_2m": Sampler(_dpm_solver(order=2), flow=True, clipped=True),
    "unipc": Sampler(_unipc, flow=True, any_times=False),
    "ddim": Sampler(_dpm_solver(order=1), version=2, clipped=True),
    "ddpm": Sampler(_ddpm),
}


def solver(process: Process, sampler: str, steps: int) -> Any:
    """The scheduler of a sampler, with `steps` distinct times. CabenchError if it cannot be right.

    The times are evenly spaced from the first to 0 ("trailing", arXiv 2305.08891, table 2).
    diffusers rounds them, so that some numbers of steps come out one too long or too short; these
    grids are set here.
    """
    if (reason := misfit(process, sampler)) is not None:
        raise CabenchError(reason)
    entry = SAMPLERS[sampler]
    scheduler = entry.build(process)
    scheduler.set_timesteps(steps)
    if _has_wrong_grid(process, scheduler, steps):
        first = int(scheduler.timesteps[0]) + 1
        times = np.round(first - np.arange(steps) * first / steps).astype(np.int64) - 1
        if entry.any_times and first >= steps:
            scheduler = entry.build(process)
            scheduler.set_timesteps(timesteps=times.tolist())
    if not steps == len(scheduler.timesteps) == len(torch.unique(scheduler.timesteps)):
        raise CabenchError(f"{sampler} has no grid of {steps} distinct times")
    return scheduler


def _has_wrong_grid(process: Process, scheduler: Any, steps: int) -> bool:
    return process.prediction != "flow" and len(scheduler.timesteps) != steps


def version(process: Process, sampler: str, steps: int) -> int:
    """The version of a sampler; one higher where its grid is set here instead of by diffusers."""
    entry = SAMPLERS[sampler]
    if steps <= USUAL or not entry.any_times:
        return entry.version
    scheduler = entry.build(process)
    scheduler.set_timesteps(steps)
    return entry.version + _has_wrong_grid(process, scheduler, steps)


def misfit(process: Process, sampler: str) -> str | None:
    """Why this sampler cannot draw from this process, or None."""
    entry = SAMPLERS[sampler]
    if process.prediction == "flow" and not entry.flow:
        expected = " or ".join(name for name, other in SAMPLERS.items() if other.flow)
        return f"expected {expected} with prediction flow, got '{sampler}'"
    if process.prediction == "eps" and process.schedule == "cosine" and not entry.clipped:
        expected = " or ".join(name for name, other in SAMPLERS.items() if other.clipped)
        return (
            f"expected {expected} with prediction eps on the cosine schedule, got '{sampler}', "
            "whose first step divides by alpha = 0.00005"
        )
    return None


def no_grid(process: Process, sampler: str, steps: int) -> str | None:
    """Why a sampler that fits this process has no grid of so many steps, or None."""
    if steps <= USUAL:  # without importing diffusers
        return None
    try:
        solver(process, sampler, steps)
    except CabenchError as error:
        return str(error)
    return None


# ---- guidance and the loop ----------------------------------------------------------------------


class Guide:
    """Guidance u + g (c - u) of the prediction c; g = 1 is none. For one sampling trajectory.

    u is the same network's prediction without the streams other than the timestep (classifier-free
    guidance, arXiv 2207.12598) or, with a `weak` network, that one's prediction under the same
    condition (autoguidance, arXiv 2406.02070). There is no guidance where t / 1000 is outside of
    `interval` (arXiv 2404.07724).

    Called with x (B, C, H, W) and one t for the whole batch, which is on the CPU: reading it from a
    GPU would wait for all earlier steps. Equal conditions are embedded once.
    """

    def __init__(
        self,
        model: Network,
        guidance: float,
        streams: Streams,
        device: str,
        interval: tuple[float, float] = (0.0, 1.0),
        weak: Network | None = None,
    ):
        self.model, self.weak, self.guidance, self.interval = model, weak, guidance, interval
        rows, index = distinct(streams)
        self.streams, self.drop = take(streams, rows, device), None
        if guidance != 1 and weak is None:
            # one more condition, the null one, for a second copy of all samples
            rows = torch.cat([rows, rows[:1]])
            self.streams = take(streams, rows, device)
            self.drop = moved(torch.arange(len(rows)) == len(rows) - 1, device)
            index = torch.cat([index, torch.full_like(index, len(rows) - 1)])
        self.index, self.count = moved(index, device), len(rows)
        self.cache: Cache = {}  # the model's: what stays the same through the trajectory
        self.weak_cache: Cache = {}

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        low, high = self.interval
        guided = self.guidance != 1 and low <= float(t) / STEPS <= high
        t = moved(t, self.index.device).expand(self.count)
        if guided and self.weak is None:
            both = self.model(torch.cat([x, x]), t, self.streams, self.drop, self.index, self.cache)
            conditional, other = both.chunk(2)  # (B, C, H, W) each
        else:
            condition = self.streams, self.drop, self.index[: len(x)]
            conditional = self.model(x, t, *condition, self.cache)
            if not guided:
                return conditional
            assert self.weak is not None
            other = self.weak(x, t, *condition, self.weak_cache)
        return other + self.guidance * (conditional - other)


@torch.no_grad()
def sample(
    model: Network,
    process: Process,
    streams: Callable[[Tensor], Streams],  # those of the samples at an index (b,)
    n: int,
    shape: tuple[int, int, int],  # C, H, W
    seed: int,
    sampler: str = "dpmpp_2m",
    steps: int = 20,
    guidance: float = 1.0,
    interval: tuple[float, float] | None = None,  # of t / 1000; None: all
    weak: Network | None = None,  # the guide; None: the model without its condition
    batch: int = 250,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
    decode: Callable[[Tensor], Tensor] = to_uint8,  # images or latents -> images, uint8
    ranks: Ranks = ALONE,  # every one of them calls this; the leader alone gets the samples
) -> Tensor:
    """n samples, uint8 (n, C, H, W). The noise of sample i depends on (seed, i) only.

    Conditions are taken batch by batch: maps of 50,000 samples fill gigabytes. Several ranks take
    the batches in turn, so that each batch has the same bits as one rank gives it.
    """
    images = torch.empty(0, dtype=torch.uint8)
    starts = range(0, n, batch)

    def draw(start: int) -> Tensor | None:
        """The samples of one batch, None if they are not finite."""
        index = range(start, min(start + batch, n))
        conditions = streams(torch.arange(start, index.stop))
        guide = Guide(model, guidance, conditions, device, interval or (0.0, 1.0), weak)
        generators = [generator(seed, "sample", i) for i in index]
        x = moved(torch.stack([torch.randn(shape, generator=g) for g in generators]), device)
        scheduler = solver(process, sampler, steps)
        x = x * getattr(scheduler, "init_noise_sigma", 1.0)
        noise = {"generator": generators} if sampler == "ddpm" else {}
        for i, t in enumerate(scheduler.timesteps):
            # diffusers truncates the times of a flow to integers; the network trained on exact ones
            exact = scheduler.sigmas[i] * STEPS if process.prediction == "flow" else t.float()
            predicted = guide(x, exact)
            x = scheduler.step(predicted, t, x, **noise).prev_sample
        return decode(x).cpu() if torch.isfinite(x).all() else None  # (b, C, H, W)

    for first in range(0, len(starts), ranks.count):
        own = starts[first + ranks.rank : first + ranks.rank + 1]  # none at the end, for some ranks
        decoded = [draw(start) for start in own]
        if ranks.any(None in decoded):
            raise CabenchError(f"samples are not finite after {steps} steps of {sampler}")
        parts = [part for of_rank in ranks.gather(decoded) for part in of_rank if part is not None]
        for start, part in zip(starts[first:], parts, strict=False):
            if start == 0:  # allocated once: images of 256 pixels take gigabytes
                images = torch.empty((n, *part.shape[1:]), dtype=torch.uint8)
            images[start : start + len(part)] = part
        progress(min(n, (first + ranks.count) * batch))
    return images
