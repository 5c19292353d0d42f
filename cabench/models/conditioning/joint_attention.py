"""Joint attention (MM-DiT, Stable Diffusion 3, arXiv 2403.03206, section 4).

The condition's tokens have a residual stream of their own, with weights of their own in each block;
one attention joins the two streams. The image's part of a block is the backbone's, so `adaln_zero`
beside this method gives MM-DiT's block.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.attention import attend
from cabench.models.conditioning.base import Convention, Method, VectorOptions
from cabench.models.conditioning.generators import Linear
from cabench.models.embedding import Embedded, joined, sequence
from cabench.models.operations import Branch, Conditioning
from cabench.models.sites import BranchHook, Layout, residual
from cabench.registry import METHODS


class JointAttentionOptions(VectorOptions):
    """Options of `joint_attention`."""

    count: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="tokens of each stream but a text, which has its own"
    )
    ratio: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="hidden width of the tokens' feed-forward part, in widths of a token"
    )


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm of tokens (B, L, D), then shift and scale (B, 1, D)."""
    h = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
    return torch.addcmul(shift, h, 1 + scale)


class Update(nn.Module):
    """What a block does to the condition's tokens once they have attended.

    tokens and y (B, L, D), gate, and shift, scale, gate of the feed-forward part (B, 1, D) ->
    tokens (B, L, D).
    """

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, ratio * width)
        self.project = nn.Linear(ratio * width, width)

    def forward(
        self, tokens: Tensor, y: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, gate2: Tensor
    ) -> Tensor:
        tokens = residual(tokens, self.out(y), gate)
        h = gelu_tanh(self.expand(modulated(tokens, shift, scale)))  # (B, L, ratio D)
        return residual(tokens, self.project(h), gate2)


class TokenBlock(nn.Module):
    """The condition's part of a block.

    q, k, v (B, heads, N, d) are the image's, `tokens` (B, L, D) those that the block before left.
    Returns what the image's queries attend to, (B, heads, N, d), and the tokens.
    """

    def __init__(self, hook: BranchHook, width: int, ratio: int, last: bool):
        super().__init__()
        self.heads = hook.size
        parts, vectors = (2, 2) if last else (3, 6)  # nothing reads the last block's tokens
        self.modulation = Linear(width, (vectors, hook.width), bias=True)
        self.qkv = nn.Linear(hook.width, parts * hook.width, bias=False)
        self.update = None if last else Update(hook.width, ratio)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        tokens: Tensor | None,
        first: Tensor,  # (B, L, D): the tokens before the first block
        mask: Tensor | None,  # (B, L), true where a token counts
        vectors: Tensor,  # (B, 6 or 2, D): shift, scale and gate of attention, then of the FFN
    ) -> tuple[Tensor, Tensor]:
        tokens = first if tokens is None else tokens
        shift, scale, *rest = vectors.unsqueeze(2).unbind(1)  # (B, 1, D) each
        own = self.qkv(modulated(tokens, shift, scale))
        own = own.unflatten(2, (-1, self.heads, q.shape[-1])).permute(2, 0, 3, 1, 4)
        *query, key, value = own.unbind(0)  # (B, heads, L, d) each
        queries = torch.cat([q, *query], 2) if query else q  # Inductor drops a cat of one
        keys, values = torch.cat([k, key], 2), torch.cat([v, value], 2)
        if mask is not None:
            image = mask.new_ones(len(mask), k.shape[2])
            mask = torch.cat([image, mask], 1)[:, None, None, :]  # (B, 1, 1, N + L)
        y = attend(queries, keys, values, mask)
        if self.update is None:
            return y, tokens
        n = q.shape[2]
        return y[:, :, :n], self.update(tokens, y[:, :, n:].transpose(1, 2).flatten(2), *rest)


@METHODS.register("joint_attention")
class JointAttention(Method):
    """MM-DiT: the condition's tokens have own weights in each block; attention joins them.

    Token k of a stream starts as W_k c + b_k, with one map for all tokens of a text. The pooled
    condition modulates the stream as in adaLN-Zero.
    """

    version = 1
    Options = JointAttentionOptions
    distinct = True
    hooks = ("joint",)
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="keys and values of attention; shift, scale, gate of the condition's own tokens",
        static="biases of the tokens' map and of the modulation's; none in keys and values",
        condition="tokens: none; their modulation: sum / sqrt(k), SiLU, linear",
        initial="modulation 0; others Xavier",
        published="the timestep is no token; an RMS norm of queries and keys at high resolution",
    )

    def __init__(self, options: JointAttentionOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.maps = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    nn.Linear(width, layout.width)
                    for _ in range(1 if name == "text" else options.count)
                )
                for name in self.source
            }
        )
        hooks = [h for h in layout.branches if h.hook == "joint"]
        self.addresses = [h.address for h in hooks]
        self.blocks = nn.ModuleList(
            TokenBlock(hook, width, options.ratio, last=hook is hooks[-1]) for hook in hooks
        )

    def first(self, embedded: Embedded) -> tuple[Tensor, Tensor | None]:
        """The tokens (B, L, D) before the first block, with mask (B, L) or None for all of them."""
        tokens, masks = [], []
        for name in self.source:
            maps = self.maps[name]
            assert isinstance(maps, nn.ModuleList)
            stream, mask = sequence(embedded, [name])  # (B, 1 or L, width)
            tokens.append(torch.cat([linear(stream) for linear in maps], 1))
            masks.append(mask)
        return joined(tokens, masks)

    def forward(self, embedded: Embedded) -> Conditioning:
        first, mask = self.first(embedded)
        c = self.condition(embedded)  # (B, width)
        branches = {}
        for address, block in zip(self.addresses, self.blocks, strict=True):
            assert isinstance(block, TokenBlock)
            branches[address] = Branch(block, (first, mask, block.modulation(c)))
        return Conditioning(branches=branches)
