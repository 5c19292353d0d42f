"""The loss of a training batch, and the denoising loss by noise level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cabench.diffusion.batches import Batch, Data
from cabench.diffusion.process import Process
from cabench.runtime.devices import moved
from cabench.runtime.rng import generator


def batch_loss(
    model: Callable[..., Tensor], batch: Batch, penalised: bool = True
) -> tuple[Tensor, Tensor]:
    """What training minimises: the mean squared error, plus what methods add; and the error alone.

    The model is called as a ConditionalModel. Unless `penalised`, methods add nothing.
    """
    penalties: list[Tensor] | None = [] if penalised else None
    inputs = (batch.noised, batch.times, batch.streams, batch.drop)
    predicted = model(*inputs, penalties=penalties)  # (B, C, H, W)
    error = (predicted.float() - batch.target).square().mean()
    return sum(penalties or (), error), error


@torch.no_grad()
def denoising_loss(
    model: Callable[..., Tensor],
    process: Process,
    data: Data,
    images: int,  # number of images, evenly spaced over the split
    bins: int,  # equal parts of the range of t
    repeats: int = 1,  # noise draws per image
    batch: int = 500,
    device: str = "cpu",
) -> np.ndarray:
    """Mean squared error of the prediction in each bin of t, (bins,), at guidance 1.

    Common random numbers: images, noise and times are the same for every model and seed.
    """
    images = min(images, len(data))
    index = torch.linspace(0, len(data) - 1, images).long().repeat(repeats)
    g = generator(0, "denoising loss")
    place = torch.arange(len(index))
    bin_of = (place + place // images) % bins  # an image falls in another bin in each repeat
    u = (bin_of + torch.rand(len(index), generator=g)) / bins
    noise = torch.randn((len(index), *data.shape), generator=g)
    posterior = generator(0, "posterior")
    sums = torch.zeros(bins, dtype=torch.float64)
    for start in range(0, len(index), batch):
        part = slice(start, start + batch)
        x, streams = data.take(index[part], device, posterior)  # (B, C, H, W)
        times = moved(process.times(u[part]), device)  # (B,)
        noised, target = process.noisy(x, moved(noise[part], device), times)
        error = (model(noised, times, streams) - target).square().flatten(1).mean(1)  # (B,)
        sums.index_add_(0, bin_of[part], error.double().cpu())
    return (sums / torch.bincount(bin_of, minlength=bins)).numpy()
