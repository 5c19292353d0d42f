"""DiT (Peebles & Xie, arXiv 2212.09748): patch embedding, transformer blocks, linear head.

The conditioning is not part of it: it comes in through `cond` (see models/sites.py).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.attention import QKNorm
from cabench.models.backbones.convolution import Convolution, Place
from cabench.models.init import constant
from cabench.models.operations import Conditioning
from cabench.models.sites import (
    Hook,
    JointAttention,
    ModulatedNorm,
    SiteLinear,
    image_tokens,
    plus,
    residual,
)
from cabench.registry import BACKBONES


def sincos_positions(width: int, height: int, breadth: int) -> Tensor:
    """Fixed 2-D sine-cosine positions (N, width): half of the channels per axis."""
    frequencies = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def axis(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)  # (length, width / 2)

    columns = axis(breadth)[None].expand(height, -1, -1)
    rows = axis(height)[:, None].expand(-1, breadth, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1).float()


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) -> (B, N, D), and the condition's tokens, if any."""

    def __init__(self, width: int, heads: int, qk_norm: bool):
        super().__init__()
        self.heads = heads
        self.qkv = SiteLinear("attn_qkv", width, 3 * width)
        self.qk_norm = QKNorm(width // heads) if qk_norm else None
        self.joint = JointAttention(width, heads)
        self.out = SiteLinear("attn_out", width, width)

    def forward(
        self, x: Tensor, cond: Conditioning, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        b, n, d = x.shape
        qkv = self.qkv(x, cond).view(b, n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, D / heads) each
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        y, tokens = self.joint(q, k, v, tokens, cond)  # (B, heads, N, D / heads), (B, L, D)
        return self.out(y.transpose(1, 2).reshape(b, n, d), cond), tokens


class FeedForward(nn.Module):
    """Linear, GELU (tanh), optional 3x3 depthwise convolution, linear.

    (B, N, D) -> (B, N, D).
    """

    def __init__(self, width: int, hidden: int, conv: Convolution):
        super().__init__()
        self.expand = SiteLinear("ffn_in", width, hidden)
        self.depthwise = conv.build(hidden)
        self.convolution = conv
        self.project = SiteLinear("ffn_out", hidden, width)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        h = self.expand(x, cond)  # (B, N, hidden)
        h = self.convolution.activate(gelu_tanh, self.depthwise, h, cond)  # (B, N, hidden)
        return self.project(h, cond)


class Block(nn.Module):
    """A pre-norm transformer block: (B, N, D) -> (B, N, D), and the condition's tokens, if any."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,  # inner channels of the FFN
        conv: Convolution,
        affine: bool,  # learned affine in the norms
        static_gate: bool,  # a learned gate on each residual branch
        qk_norm: bool,  # RMS norm of queries and keys
    ):
        super().__init__()
        self.start = Hook("block", width, heads)
        self.norm1 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.attn = Attention(width, heads, qk_norm)
        self.context = Hook("context", width, heads)
        self.norm2 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.ffn = FeedForward(width, hidden, conv)
        self.beside = Hook("ffn", width, hidden)

    def forward(
        self, x: Tensor, cond: Conditioning, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        x = plus(x, self.start(x, cond))
        h, gate = self.norm1(x, cond)  # (B, N, D)
        y, tokens = self.attn(h, cond, tokens)  # (B, N, D), (B, L, D)
        x = residual(x, y, gate)
        x = plus(x, self.context(x, cond))
        h, gate = self.norm2(x, cond)  # (B, N, D)
        return residual(x, plus(self.ffn(h, cond), self.beside(h, cond)), gate), tokens


@BACKBONES.register("dit")
class DiT(nn.Module):
    """x (B, C, H, W), cond -> (B, out_channels, H, W)."""

    positions: Tensor

    version = 1
    hooks = ("norm", "tokens", "block", "context", "ffn", "joint")
    sites = ("patch_embed", "depthwise", "attn_qkv", "attn_out", "ffn_in", "ffn_out", "head")
    native = [{"adaln_zero": {"source": "both"}}]
    presets = {
        # S to XL: DiT, table 1; micro and nano are ours
        "micro": dict(depth=2, width=32, heads=2),
        "nano": dict(depth=4, width=64, heads=4),
        "S": dict(depth=12, width=384, heads=6),
        "B": dict(depth=12, width=768, heads=12),
        "L": dict(depth=24, width=1024, heads=16),
        "XL": dict(depth=28, width=1152, heads=16),
    }
    options = ("depthwise_at", "qk_norm")

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
        depthwise_at: Place = "after",  # of the FFN's activation
        qk_norm: bool = False,  # RMS norm of queries and keys
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.out_channels = out_channels or channels
        hidden = ffn_hidden or 4 * width
        positions = constant(sincos_positions, width, *self.grid)
        self.register_buffer("positions", positions, persistent=False)
        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, width)
        conv = Convolution(self.grid if depthwise else None, depthwise_at)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, conv, norm_affine, static_gate, qk_norm)
            for _ in range(depth)
        )
        self.norm = ModulatedNorm(width, norm_affine, gated=False)
        self.head = SiteLinear("head", width, self.out_channels * patch**2, init="zeros")

    @classmethod
    def sizes(cls, preset: str, patch: int) -> dict[str, int]:
        """All size arguments of a preset at a patch size."""
        sizes = cls.presets[preset]
        return {**sizes, "patch": patch, "ffn_hidden": 4 * sizes["width"]}

    @staticmethod
    def widened(sizes: dict[str, Any], factor: float) -> dict[str, Any]:
        """The sizes that change where the width is about `factor` times as large."""
        step = math.lcm(sizes["heads"], 4)  # positions are two pairs of sine and cosine
        width = max(1, round(sizes["width"] * factor / step)) * step
        return {"width": width, "ffn_hidden": 4 * width}

    @staticmethod
    def condition_width(sizes: dict[str, Any]) -> int:
        """Channels of the condition embedding."""
        return sizes["width"]

    @staticmethod
    def describe(options: dict[str, Any]) -> str:
        """'dit 4 deep, 64 wide, 16 tokens' for the arguments in a spec."""
        _, height, breadth = options["shape"]
        tokens = height * breadth // options["patch"] ** 2
        return f"dit {options['depth']} deep, {options['width']} wide, {tokens} tokens"

    @staticmethod
    def problem(shape: tuple[int, int, int], patch: int) -> str | None:
        """Why this input cannot be split into patches, or None."""
        if shape[1] % patch or shape[2] % patch:
            return f"patch {patch} does not divide images of {shape[1]}x{shape[2]}"
        return None

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, C * p * p): the patch embedding is a linear layer on these."""
        return F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)

    def unpatchify(self, y: Tensor) -> Tensor:
        """(B, N, C * p * p) -> (B, C, H, W)."""
        return F.pixel_shuffle(y.transpose(1, 2).unflatten(2, self.grid), self.patch)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        x = self.patch_embed(self.patchify(x), cond) + self.positions  # (B, N, D)
        tokens = None  # of the condition
        for i, block in enumerate(self.blocks):
            x, tokens = block(cond.join(x, i), cond, tokens)  # (B, T + N, D), (B, L, D)
        h, _ = self.norm(image_tokens(x, len(self.positions)), cond)  # (B, N, D)
        return self.unpatchify(self.head(h, cond))  # (B, out_channels, H, W)
