"""U-ViT (Bao et al., arXiv 2209.12152): everything is a token, with long skips between blocks.

Linear layers and positions are drawn from a truncated normal of .02, the patch embedding and the
final convolution as torch does, as the published code has it.

The condition's tokens come in through `given` (method `tokens`, U-ViT's native one), as does any
other conditioning (see models/sites.py).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import parameter, tag
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

EPS = 1e-5  # of the norms


class Attention(nn.Module):
    """Multi-head self-attention, qkv without bias: (B, T + N, D) -> (B, T + N, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = SiteLinear("attn_qkv", width, 3 * width, bias=False, init="trunc02")
        self.out = SiteLinear("attn_out", width, width, init="trunc02")

    def forward(self, x: Tensor, given: Given) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x, given).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, heads, T + N, D / heads)
        return self.out(y.transpose(1, 2).reshape(b, n, d), given)


class FeedForward(nn.Module):
    """Linear, GELU, optional 3x3 depthwise convolution of the picture's tokens, linear."""

    def __init__(self, width: int, hidden: int, grid: tuple[int, int], depthwise: bool):
        super().__init__()
        self.expand = SiteLinear("ffn_in", width, hidden, init="trunc02")
        self.depthwise = SiteDepthwise(hidden, grid) if depthwise else None
        self.project = SiteLinear("ffn_out", hidden, width, init="trunc02")

    def forward(self, x: Tensor, given: Given) -> Tensor:
        h = F.gelu(self.expand(x, given))  # (B, T + N, hidden)
        if self.depthwise is not None:
            h = around(self._convolved, h, math.prod(self.depthwise.grid), given)
        return self.project(h, given)

    def _convolved(self, h: Tensor, given: Given) -> Tensor:
        return h + F.gelu(self.depthwise(h, given))


class Block(nn.Module):
    """A pre-norm transformer block; a block of the second half first takes in its long skip."""

    def __init__(self, width, heads, hidden, grid, depthwise, affine, static_gate, skip):
        super().__init__()
        self.skip = SiteLinear("skip", 2 * width, width, init="trunc02") if skip else None
        self.norm1 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.attn = Attention(width, heads)
        self.context = Hook("context", width, heads)
        self.norm2 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.ffn = FeedForward(width, hidden, grid, depthwise)
        self.beside = Hook("ffn", width, hidden)

    def forward(self, x: Tensor, given: Given, skipped: Tensor | None = None) -> Tensor:
        if self.skip is not None:
            x = self.skip(torch.cat([x, skipped], 2), given)
        h, gate = self.norm1(x, given)
        x = residual(x, self.attn(h, given), gate)
        x = plus(x, self.context(x, given))
        h, gate = self.norm2(x, given)
        return residual(x, plus(self.ffn(h, given), self.beside(h, given)), gate)


@BACKBONES.register("uvit")
class UViT(nn.Module):
    """forward(x (B, C, H, W), given) -> (B, C, H, W)."""

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
    native_embedder = {"timestep": "sinusoid", "table": "normal"}  # no MLP; torch's own table
    presets = {
        # name           depth (without the one in the middle), width, heads
        "micro": dict(depth=2, width=32, heads=2),
        "nano": dict(depth=6, width=44, heads=4),
        "S": dict(depth=12, width=512, heads=8),  # S to H: U-ViT, tables 5 and its README
        "S-Deep": dict(depth=16, width=512, heads=8),
        "M": dict(depth=16, width=768, heads=12),
        "L": dict(depth=20, width=1024, heads=16),
        "H": dict(depth=28, width=1152, heads=16),
    }

    def __init__(
        self,
        shape: tuple[int, int, int],  # C, H, W of the input
        depth: int,  # blocks but the one in the middle; even
        width: int,  # D, channels of a token
        heads: int,  # attention heads
        patch: int,  # pixels a side of a patch
        ffn_hidden: int | None = None,  # inner channels of the FFN; 4 * width
        depthwise: bool = False,  # a 3x3 depthwise convolution inside each FFN
        norm_affine: bool = True,  # learned affine in the norms (False: a modulator brings its own)
        static_gate: bool = False,  # a learned, zero-initialised gate on each residual branch
        final_conv: bool = False,  # a 3x3 convolution of the output (published: in L, and on COCO)
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.half = depth // 2
        hidden = ffn_hidden or 4 * width
        common = (width, heads, hidden, self.grid, depthwise, norm_affine, static_gate)
        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, width, init="torch")
        self.positions = parameter(math.prod(self.grid), width, init="trunc02")
        self.blocks = nn.ModuleList(
            Block(*common, skip=i > self.half) for i in range(2 * self.half + 1)
        )
        self.norm = ModulatedNorm(width, norm_affine, gated=False, eps=EPS)
        self.head = SiteLinear("head", width, channels * patch**2, init="trunc02")
        self.final_conv = drawn(nn.Conv2d(channels, channels, 3, padding=1)) if final_conv else None

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
        """'uvit 6 + 1 deep, 44 wide, 16 tokens' of the arguments in a spec."""
        _, height, breadth = options["shape"]
        tokens = height * breadth // options["patch"] ** 2
        return f"uvit {options['depth']} + 1 deep, {options['width']} wide, {tokens} tokens"

    @staticmethod
    def problem(shape: tuple[int, int, int], patch: int) -> str | None:
        """Why this input can't be cut into patches, or None."""
        if shape[1] % patch or shape[2] % patch:
            return f"patch {patch} doesn't divide pictures of {shape[1]}x{shape[2]}"
        return None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        x = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # (B, N, C p p)
        x = self.patch_embed(x, given) + self.positions  # (B, N, D)
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = given.join(x, i)
            if i > self.half:
                x = block(x, given, level(skips.pop(), x))
            else:
                x = block(x, given)
                skips += [x] if i < self.half else []
        h, _ = self.norm(without_extra(x, len(self.positions)), given)
        y = self.head(h, given).transpose(1, 2).unflatten(2, self.grid)
        y = F.pixel_shuffle(y, self.patch)
        return y if self.final_conv is None else self.final_conv(y)


def drawn(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution with torch's own initial values, as U-ViT leaves its own."""
    tag(conv, weight="uniform", bias="uniform")
    conv.weight.spread = conv.bias.spread = conv.weight[0].numel() ** -0.5
    return conv


def level(skipped: Tensor, x: Tensor) -> Tensor:
    """A long skip from before extra tokens joined: those have their own values there."""
    missing = x.shape[1] - skipped.shape[1]
    return skipped if missing == 0 else torch.cat([x[:, :missing], skipped], 1)
