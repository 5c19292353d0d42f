"""Scaled dot-product attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cabench.models.kernels import is_composed


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
