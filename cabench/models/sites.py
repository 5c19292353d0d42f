"""Sites and hooks: where conditioning methods and backbones meet.

A *site* is a layer whose weight may depend on the condition. A *hook* is another place where a
method may act: `norm` (modulates the output of a norm), `tokens` (adds tokens to the sequence),
`block` (a branch added to a block's input), `context` (a branch after self-attention), `ffn` (a
branch beside the feed-forward part), `joint` (tokens of the condition's own that take part in
self-attention).

A backbone is built from the layers below and passes `cond` through to them; it knows no method. A
method returns a `Conditioning` and knows no backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.attention import attend
from cabench.models.init import parameter, rule_of
from cabench.models.kernel_forms import Grid
from cabench.models.kernels import (
    conditional_depthwise,
    conditional_linear,
    static_depthwise,
    take_kernels,
)
from cabench.models.operations import Branch, Conditioning, Operation

LinearSite = Literal["patch_embed", "attn_qkv", "attn_out", "ffn_in", "ffn_out", "head", "skip"]
SiteKind = Literal[
    "patch_embed",
    "depthwise",
    "agg",
    "attn_qkv",
    "attn_out",
    "ffn_in",
    "ffn_out",
    "head",
    "skip",
]
SITES: tuple[str, ...] = get_args(SiteKind)
HOOKS = ("norm", "tokens", "block", "context", "ffn", "joint")


# ---- layers of a backbone -----------------------------------------------------------------------


class SiteLayer(nn.Module):
    """A layer with a static weight, to which methods may add generated ones."""

    site: str
    address: str = ""  # the module's path in its backbone; `address_layers` sets it
    weight: Tensor

    def operations(self, cond: Conditioning) -> list[Operation]:
        return cond.operations.get(self.address, [])

    def weight_for(self, operations: Iterable[Operation]) -> Tensor:
        """The static weight, or (B, *weight) if an operation adds a weight per sample."""
        changes = [(operation.weight(self.weight), operation.index) for operation in operations]
        changes = [(weight, index) for weight, index in changes if weight is not None]
        index = next((index for _, index in changes if index is not None), None)
        if index is not None and any(i is None and len(w) > 1 for w, i in changes):
            # beside an operation, such as a plugin's, whose weights are those of samples already
            changes = [(w if i is None else self.taken(w, i), None) for w, i in changes]
            index = None
        weight = self.weight
        for change, _ in changes:
            weight = weight + change
        return weight if index is None else self.taken(weight, index)

    def taken(self, weight: Tensor, index: Tensor) -> Tensor:
        """The weights (B, *weight) of the conditions at `index`, from those of K conditions."""
        return weight[index]

    def add_outputs(self, y: Tensor, x: Tensor, operations: Iterable[Operation]) -> Tensor:
        for operation in operations:
            extra = operation.output(x, self)
            if extra is not None:
                y = y + extra
        return y


class SiteLinear(SiteLayer):
    """A linear layer: x (B, N, in) -> (B, N, out).

    init="torch": weight and bias as torch draws them for a linear layer or a convolution, uniform
    within 1 / sqrt(inputs). `scale` multiplies what other rules draw.
    """

    def __init__(
        self,
        site: LinearSite,
        inputs: int,
        outputs: int,
        bias: bool = True,
        init: str = "xavier",
        scale: float = 1,
    ):
        super().__init__()
        self.site = site
        like_torch = init == "torch"
        scale = inputs**-0.5 if like_torch else scale
        init, bias_init = ("uniform", "uniform") if like_torch else (init, "zeros")
        self.weight = parameter(outputs, inputs, init=init, scale=scale)
        self.bias = parameter(outputs, init=bias_init, scale=scale) if bias else None

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        operations = self.operations(cond)
        weight = self.weight_for(operations)
        layer = F.linear if weight.dim() == 2 else conditional_linear
        return self.add_outputs(layer(x, weight, self.bias), x, operations)


class SiteDepthwise(SiteLayer):
    """A depthwise convolution on a grid of tokens: x (B, N, C), N = height * width -> (B, N, C).

    One kernel per sample runs as one grouped convolution, groups = B * C (CAN, section 3.3), in the
    form that `kernel_forms.choose` selects.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        kernel: int = 3,
        site: SiteKind = "depthwise",
        bias: bool = True,
        init: str = "zeros",
    ):
        super().__init__()
        self.site = site
        self.grid = grid
        self.weight = parameter(channels, 1, kernel, kernel, init=init)
        self.bias = parameter(channels, init="zeros") if bias else None

    def taken(self, weight: Tensor, index: Tensor) -> Tensor:
        return take_kernels(weight, index)

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor:
        operations = self.operations(cond)
        weight = self.weight_for(operations)
        layer = static_depthwise if weight.dim() == 4 else conditional_depthwise
        y = layer(x, weight, self.bias, self.grid)
        return self.add_outputs(y, x, operations)


class Hook(nn.Module):
    """A place for a method's branch: x (B, N, D) -> its update (B, N, D), or None without one."""

    address: str = ""

    def __init__(
        self,
        hook: Literal["block", "context", "ffn"],
        width: int,
        size: int,  # block, context: attention heads of the block; ffn: hidden width of the FFN
        grid: Grid | None = None,  # of the image's tokens here; None: the backbone's
    ):
        super().__init__()
        self.hook = hook
        self.width = width
        self.size = size
        self.grid = grid

    def forward(self, x: Tensor, cond: Conditioning) -> Tensor | None:
        branch = cond.branches.get(self.address)
        return None if branch is None else branch(x)


class JointAttention(nn.Module):
    """Self-attention of q, k, v (B, heads, N, d) -> (B, heads, N, d), with the `joint` hook.

    `tokens` are the condition's own, which a method's branch passes from block to block: None
    before the first block, and without a method.
    """

    hook = "joint"
    grid: Grid | None = None
    address: str = ""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.size = width, heads

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor | None, cond: Conditioning
    ) -> tuple[Tensor, Tensor | None]:
        branch = cond.branches.get(self.address)
        return (attend(q, k, v), None) if branch is None else branch(q, k, v, tokens)


class ModulatedNorm(nn.Module):
    """LayerNorm with the `norm` hook: x (B, N, D) -> h (B, N, D) and a gate or None.

    The gate is (D,), (B, 1, D), or (B, N, D) where the modulation differs by token.

    With a modulator, DiT's norms have no affine of their own; without one they learn it.
    """

    address: str = ""

    def __init__(
        self, width: int, affine: bool, gated: bool, static_gate: bool = False, eps: float = 1e-6
    ):
        super().__init__()
        self.width, self.eps = width, eps
        self.gated = gated  # starts a residual branch, which a gate can scale (not before the head)
        self.weight = parameter(width, init="ones") if affine else None
        self.bias = parameter(width, init="zeros") if affine else None
        self.gate = parameter(width, init="zeros") if static_gate and gated else None

    def forward(self, x: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor | None]:
        h = F.layer_norm(x, (self.width,), self.weight, self.bias, eps=self.eps)
        m = cond.modulation.get(self.address)
        if m is None:
            return h, self.gate
        if isinstance(m, Branch):
            m = m(h)
        h = torch.addcmul(over_tokens(m.shift), h, 1 + over_tokens(m.scale))
        return h, self.gate if m.gate is None else over_tokens(m.gate)


def over_tokens(part: Tensor) -> Tensor:
    """A part of a modulation, (B, D) or (B, N, D), as (B, 1, D) or (B, N, D)."""
    return part.unsqueeze(1) if part.dim() == 2 else part


def residual(x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
    """x + gate * update, or x + update without a gate."""
    return x + update if gate is None else torch.addcmul(x, gate, update)


def plus(x: Tensor, update: Tensor | None) -> Tensor:
    """x + update, or x if the update is None."""
    return x if update is None else x + update


def image_tokens(x: Tensor, n: int) -> Tensor:
    """The image's n tokens of x (B, T + n, D), without the extra ones in front: (B, n, D)."""
    return x if x.shape[1] == n else x[:, -n:].contiguous()


def on_image_tokens(layer: Callable[..., Tensor], h: Tensor, n: int, cond: Conditioning) -> Tensor:
    """Applies `layer` to the image's n tokens of h (B, T + n, D); extra tokens bypass it."""
    if h.shape[1] == n:
        return layer(h, cond)
    return torch.cat([h[:, :-n], layer(image_tokens(h, n), cond)], 1)


# ---- what a backbone offers ---------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A layer of a built backbone whose weight may be generated."""

    # fmt: off
    address: str
    kind: str               # one of SITES
    shape: tuple[int, ...]  # of the static weight
    init: str               # how the static weight is initialised; one of init.RULES
    scale: float = 1        # multiplies the drawn values
    # fmt: on


@dataclass(frozen=True)
class NormHook:
    """A norm that a method may modulate."""

    address: str
    width: int
    gated: bool


@dataclass(frozen=True)
class BranchHook:
    """A place in a block for a branch: at its input, in or after self-attention, beside the FFN."""

    # fmt: off
    address: str
    hook: str                   # block, context, ffn or joint
    width: int
    size: int                   # ffn: hidden width of the FFN; others: attention heads of the block
    grid: Grid | None = None    # of the image's tokens here; None: the backbone has no `grid`
    # fmt: on


@dataclass(frozen=True)
class Layout:
    """What a built backbone offers to methods."""

    # fmt: off
    sites: tuple[Site, ...]
    norms: tuple[NormHook, ...]
    branches: tuple[BranchHook, ...] = ()
    blocks: int = 0     # number of places where tokens can join
    width: int = 0      # channels of a token
    grid: Grid | None = None    # of the patch embedding's tokens; None: the backbone has no `grid`
    maps: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)  # the data's: (C, H, W)
    # fmt: on


def address_layers(backbone: nn.Module) -> Layout:
    """Sets the address of every site and hook, and returns the list of them."""
    sites, norms, branches = [], [], []
    grid: Grid | None = getattr(backbone, "grid", None)
    for name, module in backbone.named_modules():
        if isinstance(module, SiteLayer):
            module.address = name
            rule = rule_of(module.weight)
            assert rule is not None
            shape = tuple(module.weight.shape)
            sites.append(Site(name, module.site, shape, rule.init, rule.scale))
        elif isinstance(module, ModulatedNorm):
            module.address = name
            norms.append(NormHook(name, module.width, module.gated))
        elif isinstance(module, Hook | JointAttention):
            module.address = name
            here = module.grid or grid
            branches.append(BranchHook(name, module.hook, module.width, module.size, here))
    blocks: Any = getattr(backbone, "blocks", ())
    width = getattr(backbone, "width", 0)
    return Layout(tuple(sites), tuple(norms), tuple(branches), len(blocks), width, grid)
