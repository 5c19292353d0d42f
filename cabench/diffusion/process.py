"""The diffusion process, x_t = alpha(t) x_0 + sigma(t) eps, its prediction target, and sampling.

The solvers are diffusers' schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cabench.errors import CabenchError
from cabench.models.embedding import Cache
from cabench.models.streams import Streams, distinct, length, take
from cabench.runtime.images import to_uint8
from cabench.runtime.rng import generator

STEPS = 1000  # discrete noise levels of the variance-preserving schedules; t runs over [0, STEPS)
PREDICTIONS = ("eps", "v", "flow")
SCHEDULES = ("linear", "sqrt_linear", "cosine")


def alphas_cumprod(schedule: str) -> Tensor:
    """alpha_bar_t (STEPS,), float64, of a noise schedule: DDPM's, Stable Diffusion's, or cosine."""
    if schedule == "linear":  # Ho et al., arXiv 2006.11239, section 4
        betas = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
    elif schedule == "sqrt_linear":  # Rombach et al., arXiv 2112.10752 (their code)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    elif schedule == "cosine":  # Nichol & Dhariwal, arXiv 2102.09672, eq. 17
        u = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
        bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    else:
        expected = f"expected one of {', '.join(SCHEDULES)}"
        raise CabenchError(f"noise schedule: {expected}, got '{schedule}'")
    return torch.cumprod(1 - betas, 0)


class Process:
    """eps or v prediction on a variance-preserving schedule, or rectified flow on a linear path."""

    def __init__(self, prediction: str, schedule: str):
        if prediction not in PREDICTIONS:
            expected = f"expected one of {', '.join(PREDICTIONS)}"
            raise CabenchError(f"prediction: {expected}, got '{prediction}'")
        if prediction == "flow" and schedule != "linear":
            raise CabenchError(f"schedule: expected linear with prediction flow, got '{schedule}'")
        self.prediction = prediction
        self.schedule = schedule
        if prediction != "flow":
            bar = alphas_cumprod(schedule)
            self.alpha = bar.sqrt().float()
            self.sigma = (1 - bar).sqrt().float()

    def times(self, u: Tensor) -> Tensor:
        """Uniform u (B,) in [0, 1) -> t (B,) in [0, STEPS); integers unless this is a flow."""
        t = u * STEPS
        return t if self.prediction == "flow" else t.floor().clamp(max=STEPS - 1)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t (B,) -> alpha(t) and sigma(t), (B, 1, 1, 1) each."""
        if self.prediction == "flow":
            sigma = t / STEPS
            alpha = 1 - sigma
        else:
            alpha, sigma = (v.to(t.device)[t.long()] for v in (self.alpha, self.sigma))
        return alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)

    def noisy(self, x: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 (B, C, H, W), noise eps of the same shape, t (B,) -> x_t and the network's target."""
        alpha, sigma = self.levels(t)
        noised = alpha * x + sigma * noise
        if self.prediction == "eps":
            return noised, noise
        if self.prediction == "v":
            return noised, alpha * noise - sigma * x
        return noised, noise - x

    def scheduler_options(self) -> dict[str, Any]:
        """Keyword arguments that make a diffusers scheduler follow this process."""
        if self.prediction == "flow":
            return dict(
                prediction_type="flow_prediction",
                use_flow_sigmas=True,
                flow_shift=1.0,
                num_train_timesteps=STEPS,
            )
        betas = 1 - alphas_cumprod(self.schedule) / torch.cat(
            [torch.ones(1, dtype=torch.float64), alphas_cumprod(self.schedule)[:-1]]
        )
        kind = {"eps": "epsilon", "v": "v_prediction"}[self.prediction]
        return dict(
            trained_betas=betas.numpy(),
            prediction_type=kind,
            num_train_timesteps=STEPS,
            timestep_spacing="trailing",
        )


def _dpmpp_2m(process: Process) -> Any:
    from diffusers import DPMSolverMultistepScheduler  # pyright: ignore[reportPrivateImportUsage]

    options = process.scheduler_options()
    if process.prediction != "flow":
        options["lambda_min_clipped"] = -5.1  # the cosine schedule ends at -inf (diffusers' docs)
    return DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2, **options)


def _unipc(process: Process) -> Any:
    from diffusers import UniPCMultistepScheduler  # pyright: ignore[reportPrivateImportUsage]

    return UniPCMultistepScheduler(**process.scheduler_options())


def _ddim(process: Process) -> Any:
    from diffusers import DDIMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDIMScheduler(clip_sample=False, **process.scheduler_options())


def _ddpm(process: Process) -> Any:
    from diffusers import DDPMScheduler  # pyright: ignore[reportPrivateImportUsage]

    return DDPMScheduler(clip_sample=False, **process.scheduler_options())


SAMPLERS: dict[str, Callable[[Process], Any]] = {
    "dpmpp_2m": _dpmpp_2m,
    "unipc": _unipc,
    "ddim": _ddim,
    "ddpm": _ddpm,
}
FLOW_SAMPLERS = ("dpmpp_2m", "unipc")


class Guide:
    """Classifier-free guidance over all streams but the timestep: u + g (c - u); 1 is no guidance.

    For one sampling trajectory. Called with x (B, C, H, W) and one t for the whole batch. Equal
    conditions are embedded once.
    """

    def __init__(self, model: nn.Module, guidance: float, streams: Streams, device: str):
        self.model, self.guidance = model, guidance
        rows, index = distinct(streams)
        self.streams, self.drop = take(streams, rows, device), None
        if guidance != 1:  # one more condition, the null one, for a second copy of all samples
            rows = torch.cat([rows, rows[:1]])
            self.streams = take(streams, rows, device)
            self.drop = (torch.arange(len(rows)) == len(rows) - 1).to(device)
            index = torch.cat([index, torch.full_like(index, len(rows) - 1)])
        self.index, self.count = index.to(device), len(rows)
        self.cache: Cache = {}  # the model's: what stays the same through the trajectory

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.expand(self.count)
        if self.guidance == 1:
            return self.model(x, t, self.streams, self.drop, self.index, self.cache)
        both = self.model(torch.cat([x, x]), t, self.streams, self.drop, self.index, self.cache)
        conditional, unconditional = both.chunk(2)  # (B, C, H, W) each
        return unconditional + self.guidance * (conditional - unconditional)


@torch.no_grad()
def sample(
    model: nn.Module,
    process: Process,
    streams: Streams,  # n rows each
    shape: tuple[int, int, int],  # C, H, W
    seed: int,
    sampler: str = "dpmpp_2m",
    steps: int = 20,
    guidance: float = 1.0,
    batch: int = 250,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
    decode: Callable[[Tensor], Tensor] = to_uint8,  # images or latents -> images, uint8
) -> Tensor:
    """n samples, uint8 (n, C, H, W). The noise of sample i depends on (seed, i) only."""
    n, images = length(streams), torch.empty(0, dtype=torch.uint8)
    for start in range(0, n, batch):
        index = range(start, min(start + batch, n))
        guide = Guide(model, guidance, take(streams, slice(start, start + batch)), device)
        generators = [generator(seed, "sample", i) for i in index]
        x = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
        scheduler = SAMPLERS[sampler](process)
        scheduler.set_timesteps(steps)
        x = x * getattr(scheduler, "init_noise_sigma", 1.0)
        noise = {"generator": generators} if sampler == "ddpm" else {}
        for i, t in enumerate(scheduler.timesteps):
            # diffusers truncates the times of a flow to integers; the network trained on exact ones
            exact = scheduler.sigmas[i] * STEPS if process.prediction == "flow" else t.float()
            predicted = guide(x, exact.to(device))
            x = scheduler.step(predicted, t, x, **noise).prev_sample
        decoded = decode(x).cpu()  # (b, C, H, W)
        if start == 0:  # allocated once: images of 256 pixels take gigabytes
            images = torch.empty((n, *decoded.shape[1:]), dtype=torch.uint8)
        images[start : index.stop] = decoded
        progress(index.stop)
    return images
