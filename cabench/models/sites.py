"""Sites and hooks: the one seam between backbones and conditioning methods.

A *site* is a layer whose weight may become condition-aware; a *hook* is another place where a
method may act. A backbone is built from the layers below and passes `given` through; it knows no
method. A method returns a `Given` and knows no backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import parameter

SITES = (
    "patch_embed", "depthwise", "attn_qkv", "attn_out", "ffn_in", "ffn_out", "head", "skip",
)  # fmt: skip
HOOKS = ("norm",)


class Operation:
    """What a method does at one site for one batch. Several at a site add up."""

    def weight(self) -> Tensor | None:
        """(B, *static weight) to add to the static weight, or None."""
        return None

    def output(self, x: Tensor, layer: nn.Module) -> Tensor | None:
        """What to add to the layer's output for input x, or None (for low-rank forms)."""
        return None


@dataclass(frozen=True)
class DenseDelta(Operation):
    """W + W_c: a generated weight per sample, added to the static one (CAN, section 3)."""

    delta: Tensor  # (B, *static weight)

    def weight(self) -> Tensor:
        return self.delta


@dataclass(frozen=True)
class Modulation:
    """For a normalised feature h (B, N, D): h * (1 + scale) + shift; gate: of the branch's end."""

    shift: Tensor  # (B, D)
    scale: Tensor  # (B, D)
    gate: Tensor | None = None  # (B, D)


@dataclass
class Given:
    """All that the methods hand to the backbone for one batch, by the layer's address."""

    operations: dict[str, list[Operation]] = field(default_factory=dict)
    modulation: dict[str, Modulation] = field(default_factory=dict)

    def update(self, other: Given) -> None:
        for address, operations in other.operations.items():
            self.operations.setdefault(address, []).extend(operations)
        self.modulation.update(other.modulation)


class SiteLayer(nn.Module):
    """A layer with a static weight and, where a method gives one, a generated one on top."""

    site: str
    address: str = ""  # set by `address_layers`: the module's path in its backbone
    weight: Tensor

    def operations(self, given: Given) -> list[Operation]:
        return given.operations.get(self.address, [])

    def weight_for(self, operations: Iterable[Operation]) -> Tensor:
        """Static weight, or (B, *weight) when an operation adds a weight per sample."""
        weight = self.weight
        for operation in operations:
            delta = operation.weight()
            if delta is not None:
                weight = weight + delta
        return weight

    def plus_outputs(self, y: Tensor, x: Tensor, operations: Iterable[Operation]) -> Tensor:
        for operation in operations:
            extra = operation.output(x, self)
            if extra is not None:
                y = y + extra
        return y


class SiteLinear(SiteLayer):
    """Linear layer: x (B, N, in) -> (B, N, out); per-sample weights run as one batched product."""

    def __init__(self, site: str, inputs: int, outputs: int, bias: bool = True, init="xavier"):
        super().__init__()
        self.site = site
        self.weight = parameter(outputs, inputs, init=init)
        self.bias = parameter(outputs, init="zeros") if bias else None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        operations = self.operations(given)
        weight = self.weight_for(operations)
        if weight.dim() == 2:
            y = F.linear(x, weight, self.bias)
        else:
            y = torch.bmm(x, weight.transpose(1, 2))
            y = y if self.bias is None else y + self.bias
        return self.plus_outputs(y, x, operations)


class SiteDepthwise(SiteLayer):
    """3x3 depthwise convolution on a grid of tokens: x (B, N, C), N = height * width.

    Per-sample kernels run as one grouped convolution, groups = B * C (CAN, section 3.3).
    """

    def __init__(self, channels: int, grid: tuple[int, int], init: str = "zeros"):
        super().__init__()
        self.site = "depthwise"
        self.grid = grid
        self.weight = parameter(channels, 1, 3, 3, init=init)
        self.bias = parameter(channels, init="zeros")

    def forward(self, x: Tensor, given: Given) -> Tensor:
        operations = self.operations(given)
        weight = self.weight_for(operations)
        b, n, c = x.shape
        if weight.dim() == 4:  # the tokens already lie in channels-last order: no copy
            h = x.view(b, *self.grid, c).permute(0, 3, 1, 2)
            y = F.conv2d(h, weight, self.bias, padding=1, groups=c)
            y = y.permute(0, 2, 3, 1).reshape(b, n, c)
        else:
            h = x.transpose(1, 2).reshape(1, b * c, *self.grid)
            kernels = weight.expand(b, -1, -1, -1, -1).reshape(b * c, 1, 3, 3)
            y = F.conv2d(h, kernels, padding=1, groups=b * c)
            # contiguous: what follows is four times slower on strides
            y = y.view(b, c, n).transpose(1, 2).contiguous() + self.bias
        return self.plus_outputs(y, x, operations)


class ModulatedNorm(nn.Module):
    """LayerNorm (eps 1e-6) with the `norm` hook: x (B, N, D) -> h (B, N, D), gate or None.

    With a modulator there is no affine (as in DiT); without one there is a learned affine.
    """

    address: str = ""

    def __init__(self, width: int, affine: bool, gated: bool, static_gate: bool = False):
        super().__init__()
        self.width = width
        self.gated = gated  # does a gate make sense here (not before the head)
        self.weight = parameter(width, init="ones") if affine else None
        self.bias = parameter(width, init="zeros") if affine else None
        self.gate = parameter(width, init="zeros") if static_gate and gated else None

    def forward(self, x: Tensor, given: Given) -> tuple[Tensor, Tensor | None]:
        h = F.layer_norm(x, (self.width,), self.weight, self.bias, eps=1e-6)
        m = given.modulation.get(self.address)
        if m is None:
            return h, self.gate
        h = torch.addcmul(m.shift.unsqueeze(1), h, 1 + m.scale.unsqueeze(1))
        return h, None if m.gate is None else m.gate.unsqueeze(1)


def residual(x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
    """x + gate * update, or x + update where there is no gate."""
    return x + update if gate is None else torch.addcmul(x, gate, update)


@dataclass(frozen=True)
class Site:
    """One layer of a built backbone whose weight may be generated."""

    address: str
    kind: str  # one of SITES
    shape: tuple[int, ...]  # of the static weight


@dataclass(frozen=True)
class NormHook:
    address: str
    width: int
    gated: bool


@dataclass(frozen=True)
class Layout:
    """What a built backbone offers to methods."""

    sites: tuple[Site, ...]
    norms: tuple[NormHook, ...]


def address_layers(backbone: nn.Module) -> Layout:
    """Writes each site's and norm's path into it, and returns the list of them."""
    sites, norms = [], []
    for name, module in backbone.named_modules():
        if isinstance(module, SiteLayer):
            module.address = name
            sites.append(Site(name, module.site, tuple(module.weight.shape)))
        elif isinstance(module, ModulatedNorm):
            module.address = name
            norms.append(NormHook(name, module.width, module.gated))
    return Layout(tuple(sites), tuple(norms))
