"""Cross-attention to the tokens of the condition after each self-attention (DiT, section 3.2).

The output projection starts at zero, so the network starts as the static one.
"""

from __future__ import annotations

from torch import Tensor, nn

from cabench.models.attention import attend
from cabench.models.conditioning.base import Convention, Method, MethodOptions
from cabench.models.embedding import Embedded, sequence
from cabench.models.init import tag
from cabench.models.operations import Branch, Conditioning
from cabench.models.sites import BranchHook, Layout
from cabench.registry import METHODS


class Attention(nn.Module):
    """x (B, N, D), tokens (B, L, width), mask (B, L) or None -> update (B, N, D)."""

    def __init__(self, hook: BranchHook, width: int):
        super().__init__()
        self.heads = hook.size
        self.norm = nn.LayerNorm(hook.width, eps=1e-6)
        self.query = nn.Linear(hook.width, hook.width)
        # No bias: that of the keys cancels in the softmax, that of the values repeats `out`'s
        self.key_value = nn.Linear(width, 2 * hook.width, bias=False)
        self.out = tag(nn.Linear(hook.width, hook.width), weight="zeros", bias="zeros")

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        b, n, d = x.shape
        q = self.query(self.norm(x)).view(b, n, self.heads, -1).transpose(1, 2)
        pairs = self.key_value(tokens).view(len(tokens), tokens.shape[1], 2, self.heads, -1)
        k, v = pairs.permute(2, 0, 3, 1, 4)  # (B, heads, L, D / heads) each
        attn_mask = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, L)
        y = attend(q, k, v, attn_mask)  # (B, heads, N, D / heads)
        return self.out(y.transpose(1, 2).reshape(b, n, d))


@METHODS.register("cross_attention")
class CrossAttention(Method):
    """Each block attends to the condition: one token per stream, or the text's own tokens."""

    version = 2
    distinct = True
    hooks = ("context",)
    convention = Convention(
        quantity="update of the residual stream",
        static="bias of the output projection",
        initial="output projection 0, others Xavier",
        published="DiT released no code for cross-attention",
    )

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        hooks = [h for h in layout.branches if h.hook == "context"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(Attention(h, width) for h in hooks)

    def forward(self, embedded: Embedded) -> Conditioning:
        tokens, mask = sequence(embedded, self.source)  # (B, L, width), (B, L) or None
        pairs = zip(self.addresses, self.layers, strict=True)
        return Conditioning(branches={a: Branch(layer, (tokens, mask)) for a, layer in pairs})
