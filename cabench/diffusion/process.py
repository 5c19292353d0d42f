"""The diffusion process, x_t = alpha(t) x_0 + sigma(t) eps, and its prediction target."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from cabench.errors import CabenchError

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
            self.alpha, self.sigma = (v.to(t.device) for v in (self.alpha, self.sigma))
            alpha, sigma = (v[t.long()] for v in (self.alpha, self.sigma))
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
