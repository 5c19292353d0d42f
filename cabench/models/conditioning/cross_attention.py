"""Cross-attention to the condition's tokens after each self-attention (DiT, section 3.2).

The output projection starts at zero, so that the network starts as the static one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.conditioning.base import Method
from cabench.models.embedding import sequence
from cabench.models.init import tag
from cabench.models.sites import Branch, BranchHook, Given
from cabench.registry import METHODS


class Attention(nn.Module):
    """x (B, N, D), tokens (B, L, width), mask (B, L) | None -> update (B, N, D)."""

    def __init__(self, hook: BranchHook, width: int):
        super().__init__()
        self.heads = hook.size
        self.norm = nn.LayerNorm(hook.width, eps=1e-6)
        self.query = nn.Linear(hook.width, hook.width)
        self.key_value = nn.Linear(width, 2 * hook.width)
        self.out = tag(nn.Linear(hook.width, hook.width), weight="zeros", bias="zeros")

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        b, n, d = x.shape
        q = self.query(self.norm(x)).view(b, n, self.heads, -1).transpose(1, 2)
        pairs = self.key_value(tokens).view(len(tokens), tokens.shape[1], 2, self.heads, -1)
        k, v = pairs.permute(2, 0, 3, 1, 4)
        kept = None if mask is None else mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=kept)  # (B, heads, N, D / heads)
        return self.out(y.transpose(1, 2).reshape(b, n, d))


@METHODS.register("cross_attention")
class CrossAttention(Method):
    """Each block attends to the condition, one token a stream (text: its own tokens)."""

    distinct = True
    hooks = ("context",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        hooks = [h for h in layout.branches if h.hook == "context"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(Attention(h, width) for h in hooks)

    def forward(self, embedded) -> Given:
        tokens, mask = sequence(embedded, self.source)
        pairs = zip(self.addresses, self.layers, strict=True)
        return Given(branches={a: Branch(layer, (tokens, mask)) for a, layer in pairs})
