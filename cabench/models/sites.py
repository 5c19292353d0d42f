"""Sites and hooks: the one seam between backbones and conditioning methods.

A *site* is a layer whose weight may become condition-aware; a *hook* is another place where a
method may act: `norm` (modulates a norm's output), `tokens` (adds tokens to the sequence),
`context` (a branch after self-attention), `ffn` (a branch beside the feed-forward part). A backbone
is built from the layers below and passes `given` through; it knows no method. A method returns a
`Given` and knows no backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import parameter
from cabench.models.kernels import conditional_depthwise, conditional_linear, static_depthwise

SITES = (
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
LINEAR_SITES = ("patch_embed", "attn_qkv", "attn_out", "ffn_in", "ffn_out", "head", "skip")
HOOKS = ("norm", "tokens", "context", "ffn")


class Operation:
    """What a method does at one site for one batch. Several at a site add up."""

    def weight(self, static: Tensor) -> Tensor | None:
        """(B, *static) to add to the layer's static weight, or None."""
        return None

    def output(self, x: Tensor, layer: nn.Module) -> Tensor | None:
        """What to add to the layer's output for input x, or None."""
        return None

    def made(self, static: Tensor) -> Tensor | None:
        """The whole change of the weight, (B, *static), for diagnostics; None: there is no such."""
        return self.weight(static)

    def take(self, index: Tensor) -> Operation:
        """The same for the conditions at `index`; for methods that say `distinct`."""
        raise TypeError(f"{type(self).__name__} has no `take`, yet its method says `distinct`")


@dataclass(frozen=True)
class DenseDelta(Operation):
    """keep * W + W_c: a generated weight per sample, added to the static one (CAN, section 3)."""

    delta: Tensor  # (B, *static weight), or (1, *static weight): the same for all
    keep: Tensor | None = None  # (B,): the share of W that stays; None: all of it

    def weight(self, static: Tensor) -> Tensor:
        if self.keep is None:
            return self.delta
        shares = (self.keep - 1).view(-1, *(1,) * static.dim())
        return torch.addcmul(self.delta, shares, static)

    def take(self, index: Tensor) -> DenseDelta:
        one = len(self.delta) == 1  # for all
        keep = None if self.keep is None else self.keep[index]
        return DenseDelta(self.delta if one else self.delta[index], keep)


@dataclass(frozen=True)
class LowRank(Operation):
    """W + up diag(w) down per sample, never made as one matrix: x down^T w up^T (linear sites)."""

    down: Tensor  # (rank, inputs), or (B, rank, inputs)
    up: Tensor  # (outputs, rank), or (B, outputs, rank)
    scale: Tensor | None = None  # w (B, rank)

    def output(self, x: Tensor, layer: nn.Module) -> Tensor:
        h = x @ self.down.mT  # (B, N, rank)
        if self.scale is not None:
            h = h * self.scale.unsqueeze(1)
        return h @ self.up.mT

    def made(self, static: Tensor) -> Tensor:
        up = self.up if self.scale is None else self.up * self.scale.unsqueeze(1)
        return up @ self.down

    def take(self, index: Tensor) -> LowRank:
        down, up = (m[index] if m.dim() == 3 else m for m in (self.down, self.up))
        return LowRank(down, up, None if self.scale is None else self.scale[index])


@dataclass(frozen=True)
class Modulation:
    """For a normalised feature h (B, N, D): h * (1 + scale) + shift; gate: of the branch's end."""

    shift: Tensor  # (B, D)
    scale: Tensor  # (B, D)
    gate: Tensor | None = None  # (B, D)

    def take(self, index: Tensor) -> Modulation:
        gate = None if self.gate is None else self.gate[index]
        return Modulation(self.shift[index], self.scale[index], gate)


@dataclass(frozen=True)
class ExtraTokens:
    """Tokens that join the sequence before block `start` and leave it before the head."""

    values: Tensor  # (B, T, D)
    start: int = 0

    def take(self, index: Tensor) -> ExtraTokens:
        return ExtraTokens(self.values[index], self.start)


@dataclass(frozen=True)
class Branch:
    """module(x (B, N, D), *told) -> (B, N, D), to be added; told: (B, ...) each, or None."""

    module: Callable[..., Tensor]
    told: tuple[Tensor | None, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x, *self.told)

    def take(self, index: Tensor) -> Branch:
        return Branch(self.module, tuple(t if t is None else t[index] for t in self.told))


@dataclass
class Given:
    """All that the methods hand to the backbone for one batch, by the layer's address."""

    operations: dict[str, list[Operation]] = field(default_factory=dict)
    modulation: dict[str, Modulation] = field(default_factory=dict)
    tokens: list[ExtraTokens] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)

    def update(self, other: Given) -> None:
        for address, operations in other.operations.items():
            self.operations.setdefault(address, []).extend(operations)
        self.modulation.update(other.modulation)
        self.tokens.extend(other.tokens)
        self.branches.update(other.branches)

    def take(self, index: Tensor) -> Given:
        """What was made for distinct conditions, for samples: sample i has condition index[i]."""
        shared: dict[int, Operation] = {}  # one operation may serve many layers

        def taken(operation: Operation) -> Operation:
            if id(operation) not in shared:
                shared[id(operation)] = operation.take(index)
            return shared[id(operation)]

        return Given(
            {a: [taken(o) for o in operations] for a, operations in self.operations.items()},
            {a: m.take(index) for a, m in self.modulation.items()},
            [t.take(index) for t in self.tokens],
            {a: b.take(index) for a, b in self.branches.items()},
        )

    def join(self, x: Tensor, block: int) -> Tensor:
        """x (B, N, D) with the tokens that join before `block`, in front."""
        joining = [extra.values for extra in self.tokens if extra.start == block]
        return torch.cat([*joining, x], 1) if joining else x


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
            delta = operation.weight(self.weight)
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
    """Linear layer: x (B, N, in) -> (B, N, out); weights a sample: kernels.conditional_linear.

    init "torch": weight and bias as torch draws a linear layer's or a convolution's, uniform within
    1/sqrt(inputs).
    """

    def __init__(self, site: str, inputs: int, outputs: int, bias: bool = True, init="xavier"):
        super().__init__()
        self.site = site
        rule = {"init": init}
        if init == "torch":
            rule = {"init": "uniform", "spread": inputs**-0.5}
        self.weight = parameter(outputs, inputs, **rule)
        drawn = rule if init == "torch" else {"init": "zeros"}
        self.bias = parameter(outputs, **drawn) if bias else None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        operations = self.operations(given)
        weight = self.weight_for(operations)
        layer = F.linear if weight.dim() == 2 else conditional_linear
        return self.plus_outputs(layer(x, weight, self.bias), x, operations)


class SiteDepthwise(SiteLayer):
    """Depthwise convolution on a grid of tokens: x (B, N, C), N = height * width.

    Kernels a sample run as one grouped convolution, groups = B * C (CAN, section 3.3), in the form
    that kernels.choose names.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        kernel: int = 3,
        site: str = "depthwise",
        bias: bool = True,
        init: str = "zeros",
    ):
        super().__init__()
        self.site = site
        self.grid = grid
        self.weight = parameter(channels, 1, kernel, kernel, init=init)
        self.bias = parameter(channels, init="zeros") if bias else None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        operations = self.operations(given)
        weight = self.weight_for(operations)
        layer = static_depthwise if weight.dim() == 4 else conditional_depthwise
        y = layer(x, weight, self.bias, self.grid)
        return self.plus_outputs(y, x, operations)


class Hook(nn.Module):
    """A place for a branch of a method: x (B, N, D) -> its update (B, N, D), or None."""

    address: str = ""

    def __init__(self, hook: str, width: int, size: int):
        super().__init__()
        self.hook = hook  # of HOOKS
        self.width = width
        self.size = size  # context: attention heads of the block; ffn: its hidden width

    def forward(self, x: Tensor, given: Given) -> Tensor | None:
        branch = given.branches.get(self.address)
        return None if branch is None else branch(x)


class ModulatedNorm(nn.Module):
    """LayerNorm with the `norm` hook: x (B, N, D) -> h (B, N, D), gate or None.

    DiT's modulators have no affine beside them; without a modulator there is a learned one.
    """

    address: str = ""

    def __init__(
        self, width: int, affine: bool, gated: bool, static_gate: bool = False, eps: float = 1e-6
    ):
        super().__init__()
        self.width, self.eps = width, eps
        self.gated = gated  # does a gate make sense here (not before the head)
        self.weight = parameter(width, init="ones") if affine else None
        self.bias = parameter(width, init="zeros") if affine else None
        self.gate = parameter(width, init="zeros") if static_gate and gated else None

    def forward(self, x: Tensor, given: Given) -> tuple[Tensor, Tensor | None]:
        h = F.layer_norm(x, (self.width,), self.weight, self.bias, eps=self.eps)
        m = given.modulation.get(self.address)
        if m is None:
            return h, self.gate
        h = torch.addcmul(m.shift.unsqueeze(1), h, 1 + m.scale.unsqueeze(1))
        return h, self.gate if m.gate is None else m.gate.unsqueeze(1)


def residual(x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
    """x + gate * update, or x + update where there is no gate."""
    return x + update if gate is None else torch.addcmul(x, gate, update)


def plus(x: Tensor, update: Tensor | None) -> Tensor:
    """x + update, or x where there is none."""
    return x if update is None else x + update


def without_extra(x: Tensor, n: int) -> Tensor:
    """The last n tokens of x (B, T + n, D): those of the picture."""
    return x if x.shape[1] == n else x[:, -n:].contiguous()


def around(change: Callable[..., Tensor], h: Tensor, n: int, *more: Any) -> Tensor:
    """`change` of the picture's n tokens of h (B, T + n, D); extra ones, in front, pass it by."""
    if h.shape[1] == n:
        return change(h, *more)
    return torch.cat([h[:, :-n], change(without_extra(h, n), *more)], 1)


@dataclass(frozen=True)
class Site:
    """One layer of a built backbone whose weight may be generated."""

    address: str
    kind: str  # one of SITES
    shape: tuple[int, ...]  # of the static weight
    init: str  # the rule that draws the static weight, of init.RULES
    spread: float = 1  # its values are multiplied by that


@dataclass(frozen=True)
class NormHook:
    address: str
    width: int
    gated: bool


@dataclass(frozen=True)
class BranchHook:
    address: str
    hook: str  # context or ffn
    width: int
    size: int  # context: attention heads of the block; ffn: its hidden width


@dataclass(frozen=True)
class Layout:
    """What a built backbone offers to methods."""

    sites: tuple[Site, ...]
    norms: tuple[NormHook, ...]
    branches: tuple[BranchHook, ...] = ()
    blocks: int = 0  # places where tokens may join
    width: int = 0  # of a token


def address_layers(backbone: nn.Module) -> Layout:
    """Writes each site's and hook's path into it, and returns the list of them."""
    sites, norms, branches = [], [], []
    for name, module in backbone.named_modules():
        if isinstance(module, SiteLayer):
            module.address = name
            drawn = module.weight.init, module.weight.spread
            sites.append(Site(name, module.site, tuple(module.weight.shape), *drawn))
        elif isinstance(module, ModulatedNorm):
            module.address = name
            norms.append(NormHook(name, module.width, module.gated))
        elif isinstance(module, Hook):
            module.address = name
            branches.append(BranchHook(name, module.hook, module.width, module.size))
    blocks, width = getattr(backbone, "blocks", ()), getattr(backbone, "width", 0)
    return Layout(tuple(sites), tuple(norms), tuple(branches), len(blocks), width)
