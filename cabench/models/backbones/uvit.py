"""U-ViT (Bao et al., arXiv 2209.12152): everything is a token, with long skips between blocks.

Initial values follow the published code: linear layers and positions are drawn from a truncated
normal of 0.02, the patch embedding and the final convolution as torch draws them. Below the width
of the smallest published model 0.02 is too small by fan-in; the profile `uniform` draws from a
wider normal there.

The condition's tokens come in through `cond` (method `tokens`, U-ViT's native one), as does any
other conditioning (see models/sites.py).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.attention import QKNorm
from cabench.models.backbones.convolution import Convolution, Place
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning
from cabench.models.sites import (
    Hook,
    JointAttention,
    LinearSite,
    ModulatedNorm,
    SiteLinear,
    image_tokens,
    plus,
    residual,
)
from cabench.registry import BACKBONES

EPS = 1e-5  # of the norms
SPREAD = 0.02  # of the truncated normal, as published
SMALLEST = 512  # width of the smallest published model


class Attention(nn.Module):
    """Multi-head self-attention, qkv without bias: (B, T + N, D) -> (B, T + N, D).

    It also returns the condition's own tokens, if any.
    """

    def __init__(self, width: int, heads: int, spread: float, qk_norm: bool):
        super().__init__()
        self.heads = heads
        self.qkv = linear("attn_qkv", width, 3 * width, spread, bias=False)
        self.qk_norm = QKNorm(width // heads) if qk_norm else None
        self.joint = JointAttention(width, heads)
        self.out = linear("attn_out", width, width, spread)

    def forward(
        self, x: Tensor, cond: Conditioning, tokens: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        b, n, d = x.shape
        qkv = self.qkv(x, cond).view(b, n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T + N, D / heads) each
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        y, tokens = self.joint(q, k, v, tokens, cond)  # (B, heads, T + N, D / heads), (B, L, D)
        return self.out(y.transpose(1, 2).reshape(b, n, d), cond), tokens


class FeedForward(nn.Module):
    """Linear, GELU, optional 3x3 depthwise convolution of the image's tokens, linear.

    (B, T + N, D) -> (B, T + N, D).
    """

    def __init__(self, width: int, hidden: int, conv: Convolution, spread: float):
        super().__init__()
        self.expand = linear("ffn_in", width, hidden, spread)
        self.depthwise = conv.build(hidden)
        self.convolution = conv
        self.project = linear("ffn_out", hidden, width, spread)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        h = self.expand(x, cond)  # (B, T + N, hidden)
        h = self.convolution.activate(F.gelu, self.depthwise, h, cond)  # (B, T + N, hidden)
        return self.project(h, cond)


class Block(nn.Module):
    """A pre-norm transformer block: (B, T + N, D) -> (B, T + N, D).

    A block of the second half first merges its long skip. The condition's own tokens, if any, have
    none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,  # inner channels of the FFN
        conv: Convolution,
        affine: bool,  # learned affine in the norms
        static_gate: bool,  # a learned gate on each residual branch
        spread: float,  # of the linear layers' initial values
        qk_norm: bool,  # RMS norm of queries and keys
        skip: bool,  # a long skip ends here
    ):
        super().__init__()
        self.skip = linear("skip", 2 * width, width, spread) if skip else None
        self.start = Hook("block", width, heads)
        self.norm1 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.attn = Attention(width, heads, spread, qk_norm)
        self.context = Hook("context", width, heads)
        self.norm2 = ModulatedNorm(width, affine, True, static_gate, EPS)
        self.ffn = FeedForward(width, hidden, conv, spread)
        self.beside = Hook("ffn", width, hidden)

    def forward(
        self, x: Tensor, cond: Conditioning, tokens: Tensor | None, skipped: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if self.skip is not None and skipped is not None:
            x = self.skip(torch.cat([x, skipped], 2), cond)  # (B, T + N, D)
        x = plus(x, self.start(x, cond))
        h, gate = self.norm1(x, cond)  # (B, T + N, D)
        y, tokens = self.attn(h, cond, tokens)  # (B, T + N, D), (B, L, D)
        x = residual(x, y, gate)
        x = plus(x, self.context(x, cond))
        h, gate = self.norm2(x, cond)  # (B, T + N, D)
        return residual(x, plus(self.ffn(h, cond), self.beside(h, cond)), gate), tokens


@BACKBONES.register("uvit")
class UViT(nn.Module):
    """x (B, C, H, W), cond -> (B, C, H, W)."""

    version = 2
    hooks = ("norm", "tokens", "block", "context", "ffn", "joint")
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
    # No MLP; a table as torch draws it
    native_embedder = {"timestep": "sinusoid", "table": "normal", "projection": "trunc02"}
    presets = {
        # depth does not count the block in the middle
        "micro": dict(depth=2, width=32, heads=2),
        "nano": dict(depth=6, width=44, heads=4),
        # S to H: U-ViT, table 5 and its README
        "S": dict(depth=12, width=512, heads=8, final_conv=True),
        "S-Deep": dict(depth=16, width=512, heads=8, final_conv=True),
        "M": dict(depth=16, width=768, heads=12, final_conv=True),
        "L": dict(depth=20, width=1024, heads=16, final_conv=True),
        "H": dict(depth=28, width=1152, heads=16),
    }
    options = ("final_conv", "spread", "depthwise_at", "qk_norm")

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
        final_conv: bool = False,  # a 3x3 convolution of the output (published: all but H)
        spread: float = SPREAD,  # of the initial values of linear layers and positions
        depthwise_at: Place = "after",  # of the FFN's activation
        qk_norm: bool = False,  # RMS norm of queries and keys
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.middle = depth // 2  # index of the block in the middle
        hidden = ffn_hidden or 4 * width
        conv = Convolution(self.grid if depthwise else None, depthwise_at)
        common = (width, heads, hidden, conv, norm_affine, static_gate, spread, qk_norm)
        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, width, init="torch")
        tokens, scale = math.prod(self.grid), spread / SPREAD
        self.positions = parameter(tokens, width, init="trunc02", scale=scale)
        self.blocks = nn.ModuleList(
            Block(*common, skip=i > self.middle) for i in range(2 * self.middle + 1)
        )
        self.norm = ModulatedNorm(width, norm_affine, gated=False, eps=EPS)
        self.head = linear("head", width, channels * patch**2, spread)
        self.final_conv = conv3x3(channels) if final_conv else None

    @classmethod
    def sizes(cls, preset: str, patch: int) -> dict[str, int]:
        """All size arguments of a preset at a patch size."""
        sizes = cls.presets[preset]
        return {**sizes, "patch": patch, "ffn_hidden": 4 * sizes["width"]}

    @staticmethod
    def uniform(sizes: dict[str, Any]) -> dict[str, Any]:
        """Arguments in the profile `uniform`, where they differ from the published ones."""
        if sizes["width"] >= SMALLEST:
            return {}
        return {"spread": round(SPREAD * math.sqrt(SMALLEST / sizes["width"]), 6)}

    @staticmethod
    def widened(sizes: dict[str, Any], factor: float) -> dict[str, Any]:
        """The sizes that change where the width is about `factor` times as large."""
        step = math.lcm(sizes["heads"], 4)
        width = max(1, round(sizes["width"] * factor / step)) * step
        return {"width": width, "ffn_hidden": 4 * width}

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
        tokens = None  # of the condition
        for i, block in enumerate(self.blocks):
            x = cond.join(x, i)  # (B, T + N, D)
            if i > self.middle:
                x, tokens = block(x, cond, tokens, with_extra(skips.pop(), x))
            else:
                x, tokens = block(x, cond, tokens)
                skips += [x] if i < self.middle else []
        h, _ = self.norm(image_tokens(x, len(self.positions)), cond)  # (B, N, D)
        y = self.head(h, cond).transpose(1, 2).unflatten(2, self.grid)  # (B, C p p, H / p, W / p)
        y = F.pixel_shuffle(y, self.patch)  # (B, C, H, W)
        return y if self.final_conv is None else self.final_conv(y)


def linear(
    site: LinearSite, inputs: int, outputs: int, spread: float, bias: bool = True
) -> SiteLinear:
    """A linear layer whose weight starts as a truncated normal."""
    return SiteLinear(site, inputs, outputs, bias, init="trunc02", scale=spread / SPREAD)


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
