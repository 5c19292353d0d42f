"""DiT (Peebles & Xie, arXiv 2212.09748): patch embedding, transformer blocks, linear head.

The conditioning is not in here: it comes in through `given` (see models/sites.py).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.init import fixed
from cabench.models.sites import (
    Given,
    Hook,
    ModulatedNorm,
    SiteDepthwise,
    SiteLinear,
    around,
    plus,
    residual,
    without_extra,
)
from cabench.registry import BACKBONES


def sincos_positions(width: int, height: int, breadth: int) -> Tensor:
    """Fixed 2-D sine-cosine positions (N, width): half of the width per axis."""
    frequencies = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def axis(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)  # (length, width / 2)

    columns = axis(breadth)[None].expand(height, -1, -1)
    rows = axis(height)[:, None].expand(-1, breadth, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1).float()


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = SiteLinear("attn_qkv", width, 3 * width)
        self.out = SiteLinear("attn_out", width, width)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x, given).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, D / heads)
        return self.out(y.transpose(1, 2).reshape(b, n, d), given)


class FeedForward(nn.Module):
    """Linear, GELU-tanh, optional 3x3 depthwise convolution as h + gelu(dw(h)), linear."""

    def __init__(self, width: int, hidden: int, grid: tuple[int, int], depthwise: bool):
        super().__init__()
        self.expand = SiteLinear("ffn_in", width, hidden)
        self.depthwise = SiteDepthwise(hidden, grid) if depthwise else None
        self.project = SiteLinear("ffn_out", hidden, width)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        h = gelu_tanh(self.expand(x, given))  # (B, N, hidden)
        if self.depthwise is not None:
            h = around(self._convolved, h, math.prod(self.depthwise.grid), given)
        return self.project(h, given)

    def _convolved(self, h: Tensor, given: Given) -> Tensor:
        return h + gelu_tanh(self.depthwise(h, given))


class Block(nn.Module):
    def __init__(self, width, heads, hidden, grid, depthwise, affine, static_gate):
        super().__init__()
        self.norm1 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.attn = Attention(width, heads)
        self.context = Hook("context", width, heads)
        self.norm2 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.ffn = FeedForward(width, hidden, grid, depthwise)
        self.beside = Hook("ffn", width, hidden)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        h, gate = self.norm1(x, given)
        x = residual(x, self.attn(h, given), gate)
        x = plus(x, self.context(x, given))
        h, gate = self.norm2(x, given)
        return residual(x, plus(self.ffn(h, given), self.beside(h, given)), gate)


@BACKBONES.register("dit")
class DiT(nn.Module):
    """forward(x (B, C, H, W), given) -> (B, out_channels, H, W)."""

    version = 1
    hooks = ("norm", "tokens", "context", "ffn")
    sites = ("patch_embed", "depthwise", "attn_qkv", "attn_out", "ffn_in", "ffn_out", "head")
    native = [{"adaln_zero": {"source": "both"}}]
    presets = {
        # name          depth      width        heads   (S to XL: DiT, table 1; the others are ours)
        "micro": dict(depth=2, width=32, heads=2),
        "nano": dict(depth=4, width=64, heads=4),
        "S": dict(depth=12, width=384, heads=6),
        "B": dict(depth=12, width=768, heads=12),
        "L": dict(depth=24, width=1024, heads=16),
        "XL": dict(depth=28, width=1152, heads=16),
    }

    def __init__(
        self,
        shape: tuple[int, int, int],  # C, H, W of the input
        depth: int,  # blocks
        width: int,  # D, channels of a token
        heads: int,  # attention heads
        patch: int,  # pixels a side of a patch
        ffn_hidden: int | None = None,  # inner channels of the FFN; 4 * width
        depthwise: bool = False,  # a 3x3 depthwise convolution inside each FFN
        norm_affine: bool = False,  # learned affine in the norms (no modulator there)
        static_gate: bool = False,  # a learned, zero-initialised gate on each residual branch
        out_channels: int | None = None,  # C; 2C when sigma is learned
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.out_channels = out_channels or channels
        hidden = ffn_hidden or 4 * width
        positions = fixed(sincos_positions, width, *self.grid)
        self.register_buffer("positions", positions, persistent=False)
        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, self.grid, depthwise, norm_affine, static_gate)
            for _ in range(depth)
        )
        self.norm = ModulatedNorm(width, norm_affine, gated=False)
        self.head = SiteLinear("head", width, self.out_channels * patch**2, init="zeros")

    @classmethod
    def sizes(cls, preset: str, patch: int) -> dict[str, int]:
        """The arguments that a preset and a patch stand for, all spelt out."""
        sizes = cls.presets[preset]
        return {**sizes, "patch": patch, "ffn_hidden": 4 * sizes["width"]}

    @staticmethod
    def condition_width(sizes: dict) -> int:
        """Width of the condition's embedding."""
        return sizes["width"]

    @staticmethod
    def describe(options: dict) -> str:
        """'dit 4 deep, 64 wide, 16 tokens' of the arguments in a spec."""
        _, height, breadth = options["shape"]
        tokens = height * breadth // options["patch"] ** 2
        return f"dit {options['depth']} deep, {options['width']} wide, {tokens} tokens"

    @staticmethod
    def problem(shape: tuple[int, int, int], patch: int) -> str | None:
        """Why this input can't be cut into patches, or None."""
        if shape[1] % patch or shape[2] % patch:
            return f"patch {patch} doesn't divide pictures of {shape[1]}x{shape[2]}"
        return None

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, C * p * p): the patch embedding is a linear layer on these."""
        return F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)

    def unpatchify(self, y: Tensor) -> Tensor:
        """(B, N, C * p * p) -> (B, C, H, W)."""
        return F.pixel_shuffle(y.transpose(1, 2).unflatten(2, self.grid), self.patch)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        x = self.patch_embed(self.patchify(x), given) + self.positions  # (B, N, D)
        for i, block in enumerate(self.blocks):
            x = block(given.join(x, i), given)
        h, _ = self.norm(without_extra(x, len(self.positions)), given)
        return self.unpatchify(self.head(h, given))
