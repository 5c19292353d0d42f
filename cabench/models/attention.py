"""Scaled dot-product attention, and the normalisation of its queries and keys."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import parameter
from cabench.models.kernel_forms import is_composed


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q (B, heads, N, d), k and v (B, heads, L, d) -> (B, heads, N, d).

    `mask` (B, 1, 1, L) is true where a key counts; None: everywhere.
    """
    if not is_composed():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.mT * q.shape[-1] ** -0.5  # (B, heads, N, L)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


class QKNorm(nn.Module):
    """RMS norm of queries and keys over a head's channels, each with one learned gain a channel.

    q and k (B, heads, N, d) -> the same shapes. All heads of a layer share the gains, as in Stable
    Diffusion 3 (Esser et al., arXiv 2403.03206, section 5.3.2).
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.q_gain = parameter(channels, init="ones")
        self.k_gain = parameter(channels, init="ones")

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        shape = q.shape[-1:]
        return (
            F.rms_norm(q, shape, self.q_gain, self.eps),
            F.rms_norm(k, shape, self.k_gain, self.eps),
        )
