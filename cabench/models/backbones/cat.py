"""CaT, a reconstruction: the CAN paper's transformer of EfficientViT modules (arXiv 2404.01143).

The paper states that CaT combines CAN with EfficientViT modules (arXiv 2205.14756: multi-scale ReLU
linear attention, MBConv). Its body, widths and depths are not published. We assume stages of
constant width that halve the resolution, mirrored with long skips; a norm before each module
instead of EfficientViT's BatchNorm, which would make samples depend on each other; and adaLN as
native conditioning.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.init import parameter, tag
from cabench.models.kernel_forms import Grid
from cabench.models.operations import Conditioning
from cabench.models.sites import (
    Hook,
    ModulatedNorm,
    SiteDepthwise,
    SiteLinear,
    plus,
    residual,
)
from cabench.registry import BACKBONES


def full_precision(x: Tensor) -> AbstractContextManager:
    """A context without autocast on x's device (the meta device has no autocast)."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class LiteMLA(nn.Module):
    """Multi-scale ReLU linear attention (EfficientViT, section 3.1): (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, grid: Grid, head_width: int):
        super().__init__()
        self.grid, self.dim = grid, head_width
        self.total = width // head_width * head_width  # heads * dim
        self.qkv = SiteLinear("attn_qkv", width, 3 * self.total, bias=False)
        self.agg = SiteDepthwise(
            3 * self.total, grid, kernel=5, site="agg", bias=False, init="lecun"
        )
        self.mix = parameter(3 * self.total, head_width, 1, 1, init="lecun")  # grouped 1x1
        self.out = SiteLinear("attn_out", 2 * self.total, width, bias=False)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        b, n, _ = x.shape
        qkv = self.qkv(x, cond)  # (B, N, 3 total)
        wide = self.agg(qkv, cond).transpose(1, 2).unflatten(2, self.grid)
        wide = F.conv2d(wide, self.mix, groups=3 * self.total // self.dim)  # (B, 3 total, h, w)
        both = torch.cat([qkv, wide.flatten(2).transpose(1, 2)], 2)  # (B, N, 6 total)
        q, k, v = both.view(b, n, -1, 3, self.dim).permute(3, 0, 2, 1, 4).float()
        with full_precision(x):  # a sum over all tokens and a division by it
            q, k = F.relu(q), F.relu(k)  # (B, 2 heads, N, dim)
            ones = torch.ones_like(v[..., :1])
            y = q @ (k.mT @ torch.cat([v, ones], 3))  # (B, 2 heads, N, dim + 1)
            y = y[..., :-1] / (y[..., -1:] + 1e-15)  # (B, 2 heads, N, dim)
        return self.out(y.to(x.dtype).transpose(1, 2).reshape(b, n, -1), cond)


class MBConv(nn.Module):
    """1x1 expansion, GELU, 3x3 depthwise, GELU, 1x1 projection: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, hidden: int, grid: Grid):
        super().__init__()
        self.expand = SiteLinear("ffn_in", width, hidden)
        self.depthwise = SiteDepthwise(hidden, grid, init="lecun")
        self.project = SiteLinear("ffn_out", hidden, width)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        h = gelu_tanh(self.expand(x, cond))  # (B, N, hidden)
        h = gelu_tanh(self.depthwise(h, cond))  # (B, N, hidden)
        return self.project(h, cond)


class Block(nn.Module):
    """x + LiteMLA(norm(x)), then x + MBConv(norm(x)): (B, N, D) -> (B, N, D)."""

    def __init__(
        self,
        width: int,
        grid: Grid,
        head_width: int,  # channels of an attention head
        hidden: int,  # inner channels of MBConv
        affine: bool,  # learned affine in the norms
        static_gate: bool,  # a learned gate on each residual branch
    ):
        super().__init__()
        self.start = Hook("block", width, width // head_width, grid)
        self.norm1 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.attn = LiteMLA(width, grid, head_width)
        self.context = Hook("context", width, width // head_width, grid)
        self.norm2 = ModulatedNorm(width, affine, gated=True, static_gate=static_gate)
        self.ffn = MBConv(width, hidden, grid)
        self.beside = Hook("ffn", width, hidden, grid)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        x = plus(x, self.start(x, cond))
        h, gate = self.norm1(x, cond)  # (B, N, D)
        x = residual(x, self.attn(h, cond), gate)
        x = plus(x, self.context(x, cond))
        h, gate = self.norm2(x, cond)  # (B, N, D)
        return residual(x, plus(self.ffn(h, cond), self.beside(h, cond)), gate)


class Stage(nn.ModuleList):
    """Blocks of one width and resolution: (B, N, D) -> (B, N, D)."""

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        for block in self:
            x = block(x, cond)
        return x


class Resample(nn.Module):
    """Halves (down) or doubles the resolution: pixels to or from channels, and a linear layer.

    (B, N, inputs) -> (B, N / 4, outputs) or (B, 4 N, outputs).
    """

    def __init__(self, inputs: int, outputs: int, grid: Grid, down: bool):
        super().__init__()
        self.grid, self.down = grid, down
        sizes = (4 * inputs, outputs) if down else (inputs, 4 * outputs)
        self.linear = tag(nn.Linear(*sizes), weight="xavier", bias="zeros")

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            x = F.pixel_unshuffle(x.transpose(1, 2).unflatten(2, self.grid), 2)
            return self.linear(x.flatten(2).transpose(1, 2))
        x = self.linear(x).transpose(1, 2).unflatten(2, self.grid)
        return F.pixel_shuffle(x, 2).flatten(2).transpose(1, 2)


@BACKBONES.register("cat")
class CaT(nn.Module):
    """A reconstruction of CaT: x (B, C, H, W), cond -> (B, C, H, W)."""

    version = 1
    hooks = ("norm", "block", "context", "ffn")  # no tokens: convolutions need a full grid
    sites = (
        "patch_embed",
        "depthwise",
        "agg",
        "attn_qkv",
        "attn_out",
        "ffn_in",
        "ffn_out",
        "head",
        "skip",
    )
    native = [{"adaln": {"source": "both"}}]
    own_depthwise = True  # always there: an arm can neither remove nor add one
    presets = {
        # widths and depths of the stages; the last has the lowest resolution
        "micro": dict(widths=[32, 32], depths=[1, 1], head_width=16),
        "nano": dict(widths=[64, 80], depths=[1, 2], head_width=16),
        # With CAN (bottleneck, rank 64) they have 12.0 GMACs at 32x32; 10.1 at 64x64, patch 4; and
        # 4.0 at 32x32 with 77 text tokens, which is an assumption. See `cabench macs`.
        "B0": dict(widths=[416, 832], depths=[6, 7], head_width=32),
        "L0": dict(widths=[384, 768], depths=[4, 11], head_width=32),
        "S0": dict(widths=[288, 576], depths=[1, 11], head_width=32),
    }

    def __init__(
        self,
        shape: tuple[int, int, int],  # C, H, W of the input
        widths: list[int],  # channels of a token, by stage
        depths: list[int],  # blocks of each stage; all but the last exist twice: down and up
        head_width: int,  # channels of a head of the attention
        patch: int,  # pixels a side of a patch
        ffn_ratio: float = 4,  # inner channels of MBConv / width
        depthwise: bool = True,  # MBConv always has its own
        norm_affine: bool = True,  # learned affine in the norms (no modulator there)
        static_gate: bool = False,  # a learned, zero-initialised gate on each residual branch
    ):
        super().__init__()
        channels, height, breadth = shape
        self.patch, self.stages = patch, len(widths)
        self.grid = (height // patch, breadth // patch)
        self.width = widths[0]
        grids = [(self.grid[0] >> i, self.grid[1] >> i) for i in range(self.stages)]
        pairs = list(zip(widths[:-1], widths[1:], grids[:-1], grids[1:], strict=True))

        def stage(i: int) -> Stage:
            hidden = round(ffn_ratio * widths[i])
            return Stage(
                Block(widths[i], grids[i], head_width, hidden, norm_affine, static_gate)
                for _ in range(depths[i])
            )

        self.patch_embed = SiteLinear("patch_embed", channels * patch**2, widths[0])
        self.down = nn.ModuleList(stage(i) for i in range(self.stages - 1))
        self.shrink = nn.ModuleList(Resample(a, b, grid, down=True) for a, b, grid, _ in pairs)
        self.middle = stage(self.stages - 1)
        self.grow = nn.ModuleList(Resample(b, a, grid, down=False) for a, b, _, grid in pairs)
        self.skip = nn.ModuleList(SiteLinear("skip", 2 * a, a) for a in widths[:-1])
        self.up = nn.ModuleList(stage(i) for i in range(self.stages - 1))
        self.norm = ModulatedNorm(widths[0], norm_affine, gated=False)
        self.head = SiteLinear("head", widths[0], channels * patch**2, init="zeros")

    @classmethod
    def sizes(cls, preset: str, patch: int) -> dict[str, Any]:
        """All size arguments of a preset at a patch size."""
        return {**cls.presets[preset], "patch": patch, "ffn_ratio": 4}

    @staticmethod
    def widened(sizes: dict[str, Any], factor: float) -> dict[str, Any]:
        """The sizes that change where the widths are about `factor` times as large."""
        head = sizes["head_width"]
        step = max(1, head // 2)  # attention has as many whole heads as fit
        widths = [round(width * factor / step) * step for width in sizes["widths"]]
        return {"widths": [max(head, width) for width in widths]}

    @staticmethod
    def condition_width(sizes: dict[str, Any]) -> int:
        """Channels of the condition embedding: those of the widest stage."""
        return max(sizes["widths"])

    @staticmethod
    def describe(options: dict[str, Any]) -> str:
        """'cat 1+2+1 deep, 64 and 80 wide, 16 tokens' for the arguments in a spec."""
        _, height, breadth = options["shape"]
        tokens = height * breadth // options["patch"] ** 2
        depths = [*options["depths"], *options["depths"][-2::-1]]
        deep, wide = "+".join(map(str, depths)), " and ".join(map(str, options["widths"]))
        return f"cat {deep} deep, {wide} wide, {tokens} tokens"

    @classmethod
    def problem(cls, shape: tuple[int, int, int], patch: int) -> str | None:
        """Why this input cannot be split into patches, or None."""
        unit = patch * 2  # the grid is halved once: all presets have two stages
        if shape[1] % unit or shape[2] % unit:
            return (
                f"cat expects images whose sides are multiples of {unit}, got {shape[1]}x{shape[2]}"
            )
        return None

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        x = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # (B, N, C p p)
        x = self.patch_embed(x, cond)  # (B, N, D); zero padding of convolutions encodes positions
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            x = stage(x, cond)
            skips.append(x)
            x = shrink(x)  # (B, N / 4, next D)
        x = self.middle(x, cond)
        for i in reversed(range(self.stages - 1)):
            x = torch.cat([self.grow[i](x), skips[i]], 2)  # (B, N, 2 D)
            x = self.up[i](self.skip[i](x, cond), cond)  # (B, N, D)
        h, _ = self.norm(x, cond)
        y = self.head(h, cond).transpose(1, 2).unflatten(2, self.grid)  # (B, C p p, H / p, W / p)
        return F.pixel_shuffle(y, self.patch)  # (B, C, H, W)
