"""U-ViT (Bao et al., arXiv 2209.12152): everything is a token, with long skips between blocks.

Initial values follow the published code: linear layers and positions are drawn from a truncated
normal of 0.02, the patch embedding and the final convolution as torch draws them.

The condition's tokens come in through `cond` (method `tokens`, U-ViT's native one), as does any
other conditioning (see models/sites.py).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning
from cabench.models.sites import (
    Hook,
    ModulatedNorm,
    SiteDepthwise,
    SiteLinear,
    image_tokens,
    on_image_tokens,
    plus,
    residual,
)
from cabench.registry import BACKBONES

EPS = 1e-5  # of the norms


class Attention(nn.Module):
    """Multi-head self-attention, qkv without bias: (B, T + N, D) -> (B, T + N, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = SiteLinear("attn_qkv", width, 3 * width, bias=False, init="trunc02")
        self.out = SiteLinear("attn_out", width, width, init="trunc02")

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(x, cond).view(b, n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T + N, D / heads) each
        y = F.scaled_dot_product_attention(q, k, v)  # (B, heads, T + N, D / heads)
        return self.out(y.transpose(1, 2).reshape(b, n, d), cond)


class FeedForward(nn.Module):
    """Linear, GELU, optional 3x3 depthwise convolution of the image's tokens, linear.

    (B, T + N, D) -> (B, T + N, D).
    """

    def __init__(self, width: int, hidden: int, grid: tuple[int, int], depthwise: bool):
        super().__init__()
        self.expand = SiteLinear("ffn_in", width, hidden, init="trunc02")
        self.depthwise = SiteDepthwise(hidden, grid) if depthwise else None
        self.project = SiteLinear("ffn_out", hidden, width, init="trunc02")

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        h = F.gelu(self.expand(x, cond))  # (B, T + N, hidden)
        if self.depthwise is not None:
            n = math.prod(self.depthwise.grid)
            h = on_image_tokens(self._convolve, h, n, cond)  # (B, T + N, hidden)
        return self.project(h, cond)

    def _convolve(self, h: Tensor, cond: Conditioning) -> Tensor:
        assert self.depthwise is not None
        return h + F.gelu(self.depthwise(h, cond))


class Block(nn.Module):
    """A pre-norm transformer block: (B, T + N, D) -> (B, T + N, D).

    A block of the second half first merges its long skip.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,  # inner channels of the FFN
        grid: tuple[int, int],
        depthwise: bool,  # a depthwise convolution in the FFN
        affine: bool,  # learned affine in the norms
        static_gate: bool,  # a learned gate on each residual branch
        skip: bool,  # a long skip ends here
    ):
        super().__init__()
        self.skip = SiteLinear("skip", 2 * width, width, init="trunc02") if skip else None
        self.norm1 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.attn = Attention(width, heads)
        self.context = Hook("context", width, heads)
        self.norm2 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.ffn = FeedForward(width, hidden, grid, depthwise)
        self.beside = Hook("ffn", width, hidden)

    def forward(self, x: Tensor, cond: Conditioning, skipped: Tensor | None = None) -> Tensor:
        if self.skip is not None and skipped is not None:
            x = self.skip(torch.cat([x, skipped], 2), cond)  # (B, T + N, D)
        h, gate = self.norm1(x, cond)  # (B, T + N, D)
        x = residual(x, self.attn(h, cond), gate)
        x = plus(x, self.context(x, cond))
        h, gate = self.norm2(x, cond)  # (B, T + N, D)
        return residual(x, plus(self.ffn(h, cond), self.beside(h, cond)), gate)


@BACKBONES.register("uvit")
class UViT(nn.Module):
    """x (B, C, H, W), cond -> (B, C, H, W)."""

    version = 2
    hooks = ("norm", "tokens", "context", "ffn")
    sites = (
        "patch_embed",
        "depthwise",
        "attn_qkv",
        "attn_out",
        "ffn_in",
        "ffn_out",
        "head",
        "skip",
    )
    native = [{"tokens": {"source": "both"}}]
    native_embedder = {"timestep": "sinusoid", "table": "normal"}  # no MLP; a table as torch's
    presets = {
        # depth does not count the block in the middle
        "micro": dict(depth=2, width=32, heads=2),
        "nano": dict(depth=6, width=44, heads=4),
        "S": dict(depth=12, width=512, heads=8),  # S to H: U-ViT, table 5 and its README
        "S-Deep": dict(depth=16, width=512, heads=8),
        "M": dict(depth=16, width=768, heads=12),
        "L": dict(depth=20, width=1024, heads=16),
        "H": dict(depth=28, width=1152, heads=16),
    }

    def __init__(
        self,
        shape: tuple[int, int, int],  # C, H, W of the input
        depth: int,  # blocks without the one in the middle; even
        width: int,  # D, channels of a token
        heads: int,  # attention heads
        patch: int,  # pixels a side of a patch
        ffn_hidden: int | None = None,  # inner channels of the FFN; 4 * width
        depthwise: bool = False,  # a 3x3 depthwise convolution inside each FFN
        norm_affine: bool = True,  # learned affine in the norms (no modulator there)
        static_gate: bool = False,  # a learned, zero-initialised gate on each residual branch
        final_conv: bool = False,  # a 3x3 convolution of the output (published: L, and on COCO)
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.middle = depth // 2  # index of the block in the middle
        hidden = ffn_hidden or 4 * width
        common = (width, heads, hidden, self.grid, depthwise, norm_affine, static_gate)
        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, width, init="torch")
        self.positions = parameter(math.prod(self.grid), width, init="trunc02")
        self.blocks = nn.ModuleList(
            Block(*common, skip=i > self.middle) for i in range(2 * self.middle + 1)
        )
        self.norm = ModulatedNorm(width, norm_affine, gated=False, eps=EPS)
        self.head = SiteLinear("head", width, channels * patch**2, init="trunc02")
        self.final_conv = conv3x3(channels) if final_conv else None

    @classmethod
    def sizes(cls, preset: str, patch: int) -> dict[str, int]:
        """All size arguments of a preset at a patch size."""
        sizes = cls.presets[preset]
        return {**sizes, "patch": patch, "ffn_hidden": 4 * sizes["width"]}

    @staticmethod
    def condition_width(sizes: dict[str, Any]) -> int:
        """Channels of the condition embedding."""
        return sizes["width"]

    @staticmethod
    def describe(options: dict[str, Any]) -> str:
        """'uvit 6 + 1 deep, 44 wide, 16 tokens' for the arguments in a spec."""
        _, height, breadth = options["shape"]
        tokens = height * breadth // options["patch"] ** 2
        return f"uvit {options['depth']} + 1 deep, {options['width']} wide, {tokens} tokens"

    @staticmethod
    def problem(shape: tuple[int, int, int], patch: int) -> str | None:
        """Why this input cannot be split into patches, or None."""
        if shape[1] % patch or shape[2] % patch:
            return f"patch {patch} does not divide images of {shape[1]}x{shape[2]}"
        return None

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        x = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # (B, N, C p p)
        x = self.patch_embed(x, cond) + self.positions  # (B, N, D)
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = cond.join(x, i)  # (B, T + N, D)
            if i > self.middle:
                x = block(x, cond, with_extra(skips.pop(), x))
            else:
                x = block(x, cond)
                skips += [x] if i < self.middle else []
        h, _ = self.norm(image_tokens(x, len(self.positions)), cond)  # (B, N, D)
        y = self.head(h, cond).transpose(1, 2).unflatten(2, self.grid)  # (B, C p p, H / p, W / p)
        y = F.pixel_shuffle(y, self.patch)  # (B, C, H, W)
        return y if self.final_conv is None else self.final_conv(y)


def conv3x3(channels: int) -> nn.Conv2d:
    """A 3x3 convolution with torch's own initial values: uniform within 1 / sqrt(inputs)."""
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    return tag(conv, weight="uniform", bias="uniform", scale=conv.weight[0].numel() ** -0.5)


def with_extra(skipped: Tensor, x: Tensor) -> Tensor:
    """A long skip (B, N, D) extended to the length of x (B, T + N, D).

    Extra tokens that joined after the skip began skip to themselves.
    """
    missing = x.shape[1] - skipped.shape[1]
    return skipped if missing == 0 else torch.cat([x[:, :missing], skipped], 1)
