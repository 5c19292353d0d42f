"""Layers with a weight per sample (CAN, arXiv 2404.01143, section 3.3): one result, several forms.

x is (B, N, C) tokens or (B, C, H, W); the weight has a first axis of B, or of 1: the same for all.
`loop` is what the others must equal. `choose` names the form by shape alone, never by timing, so
that the same shapes give the same bits; CABENCH_KERNELS="depthwise=grouped,linear=loop" overrides
it, and `form=` overrides both. benchmarks/kernels.py holds the forms against each other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cabench.errors import CabenchError, near, shown

VARIABLE = "CABENCH_KERNELS"
Grid = tuple[int, int]
Form = Callable[..., Tensor]

FORMS: dict[str, dict[str, Form]] = {"linear": {}, "depthwise": {}, "conv": {}}

# What MAC counters see through, and what runs elsewhere than on a CPU
PLAIN = {"linear": "bmm", "depthwise": "grouped", "conv": "grouped"}


def register(kind: str, name: str) -> Callable[[Form], Form]:
    def add(form: Form) -> Form:
        FORMS[kind][name] = form
        return form

    return add


# ---------------------------------------------------------------------------- which form


# Numbers in the tokens of
LARGE_SAMPLE = 2**17  # one sample: a call for each costs less than copies do
LARGE_BATCH = 2**22  # a batch: its copies leave the cache, and take fresh pages at each step
PART = 2**20  # a part of such a batch


def choose(
    kind: str, batch: int, positions: int, inputs: int, outputs: int, kernel: int = 1
) -> str:
    """The form for one CPU thread: the variable's, else the fastest as measured, by shape.

    Within a few per cent of the best (benchmarks/README.md); a function of its arguments.
    """
    overridden = overridden_form(kind)
    if overridden is not None:
        return overridden
    if kind == "depthwise":
        if positions * inputs >= LARGE_SAMPLE:
            return "loop"
        return "parts" if batch * positions * inputs >= LARGE_BATCH else "wide"
    if kind == "linear":
        return "bmm"
    if inputs <= 64:
        return "grouped" if positions >= 64 else "unfold"
    return "loop" if positions >= 256 else "unfold"


def overridden_form(kind: str) -> str | None:
    return overrides(os.environ.get(VARIABLE, "")).get(kind)


@functools.lru_cache
def overrides(text: str) -> dict[str, str]:
    """{kind: form} of 'depthwise=grouped,linear=loop'."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        kind, equals, form = (p.strip() for p in part.partition("="))
        if not equals:
            raise CabenchError(
                f"{VARIABLE}: found {shown(part)}; allowed: KIND=FORM, parted by commas, such as "
                "depthwise=grouped,linear=loop"
            )
        _known(kind, FORMS, VARIABLE)
        found[kind] = _known(form, FORMS[kind], f"{VARIABLE}: {kind}")
    return found


def _known(found: str, allowed: dict, where: str) -> str:
    if found not in allowed:
        raise CabenchError(
            f"{where}: found {shown(found)}{near(str(found), allowed)}; allowed: "
            f"{', '.join(allowed)}"
        )
    return found


# ---------------------------------------------------------------------------- linear
# x (B, N, I), weight (B, O, I), bias (O,) or None -> (B, N, O)


@register("linear", "loop")
def _linear_loop(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.stack([F.linear(h, w, bias) for h, w in zip(x, weight, strict=True)])


@register("linear", "grouped")
def _linear_grouped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution with B groups."""
    (b, n, i), o = x.shape, weight.shape[1]
    h = x.transpose(1, 2).reshape(1, b * i, n)
    y = F.conv1d(h, weight.reshape(b * o, i, 1), groups=b)
    y = y.view(b, o, n).transpose(1, 2).contiguous()
    return y if bias is None else y + bias


@register("linear", "bmm")
def _linear_bmm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not counting(x):
        return _BatchedLinear.apply(x, weight, bias)
    y = torch.bmm(x, weight.transpose(1, 2))
    return y if bias is None else y + bias


class _BatchedLinear(Function):
    """One batched product, whose weight gradient lies as the weight does.

    Autograd's own comes as the view of an (B, I, O) product; the generator behind it wants rows of
    O * I and would copy it, which costs as much as the products.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = torch.bmm(x, weight.transpose(1, 2))
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            torch.bmm(g, weight) if for_x else None,
            torch.bmm(g.transpose(1, 2), x) if for_weight else None,
            g.sum((0, 1)) if for_bias else None,
        )


# ---------------------------------------------------------------------------- depthwise
# x (B, N, C) on a grid, weight (B, C, 1, k, k), bias (C,) or None -> (B, N, C)


def static_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """One weight (C, 1, k, k) for all samples: tokens lie in channels-last order, so no copy."""
    b, n, c = x.shape
    h = x.reshape(b, *grid, c).permute(0, 3, 1, 2)
    y = F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2, groups=c)
    return y.permute(0, 2, 3, 1).reshape(b, n, c)


@register("depthwise", "loop")
def _depthwise_loop(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    samples = zip(x.unsqueeze(1), weight, strict=True)
    return torch.cat([static_depthwise(h, w, bias, grid) for h, w in samples])


@register("depthwise", "grouped")
def _depthwise_grouped(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """Samples become channels, each with its plane: groups = B * C, as in the paper."""
    (b, n, c), k = x.shape, weight.shape[-1]
    h = x.transpose(1, 2).reshape(1, b * c, *grid)
    y = F.conv2d(h, weight.reshape(b * c, 1, k, k), padding=k // 2, groups=b * c)
    # contiguous: what follows is four times slower on strides
    y = y.view(b, c, n).transpose(1, 2).contiguous()
    return y if bias is None else y + bias


@register("depthwise", "wide")
def _depthwise_wide(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """The same with channels last: a token holds the channels of all samples, (N, B * C).

    That takes a copy of whole rows, none where x lies so already (x.transpose(0, 1) contiguous).
    The output lies so too: rows of C numbers, over which element-wise operators run as fast.
    """
    (b, n, c), k = x.shape, weight.shape[-1]
    h = x.transpose(0, 1).reshape(1, *grid, b * c).permute(0, 3, 1, 2)
    bias = None if bias is None else bias.repeat(b)
    y = F.conv2d(h, weight.reshape(b * c, 1, k, k), bias, padding=k // 2, groups=b * c)
    return y.permute(0, 2, 3, 1).reshape(n, b, c).transpose(0, 1)


@register("depthwise", "parts")
def _depthwise_parts(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """`wide` for a part of the samples at a time: its copies stay in the cache."""
    size = max(1, PART // x[0].numel())
    parts = zip(x.split(size), weight.split(size), strict=True)
    return torch.cat([_depthwise_wide(h, w, bias, grid) for h, w in parts])


# ---------------------------------------------------------------------------- full convolution
# x (B, I, H, W), weight (B, O, I, k, k), bias (O,) or None -> (B, O, H, W)


@register("conv", "loop")
def _conv_loop(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    samples = zip(x.unsqueeze(1), weight, strict=True)
    return torch.cat([F.conv2d(h, w, bias, padding=w.shape[-1] // 2) for h, w in samples])


@register("conv", "grouped")
def _conv_grouped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    (b, i, *grid), (o, k) = x.shape, (weight.shape[1], weight.shape[-1])
    h = x.reshape(1, b * i, *grid)
    y = F.conv2d(h, weight.reshape(b * o, i, k, k), padding=k // 2, groups=b)
    y = y.view(b, o, *grid)
    return y if bias is None else y + bias.view(-1, 1, 1)


@register("conv", "unfold")
def _conv_unfold(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A batched product with the k * k neighbours of each position."""
    k = weight.shape[-1]
    y = torch.bmm(weight.flatten(2), F.unfold(x, k, padding=k // 2)).unflatten(2, x.shape[2:])
    return y if bias is None else y + bias.view(-1, 1, 1)


# ---------------------------------------------------------------------------- what is called


def conditional_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, form: str | None = None
) -> Tensor:
    """x (B, N, I), weight (B or 1, O, I), bias (O,) -> (B, N, O)."""
    batch, n, i = x.shape
    form = _form("linear", form, x, weight, (batch, n, i, weight.shape[1]))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if form is None:
            return F.linear(x, weight[0], bias)
        return FORMS["linear"][form](x, weight.expand(batch, -1, -1), bias)

    return _as_autocast(run, x, weight, bias)


def conditional_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid, form: str | None = None
) -> Tensor:
    """x (B, N, C) on a grid of N = height * width, weight (B or 1, C, 1, k, k) -> (B, N, C).

    k is odd and the border zero. Below float32 the CPU computes in float32 and rounds the result:
    without AVX-512 torch convolves bfloat16 group by group.
    """
    batch, n, c = x.shape
    form = _form("depthwise", form, x, weight, (batch, n, c, c, _odd(weight)))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        dtype = x.dtype
        if x.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
            x, weight, bias = (t if t is None else t.float() for t in (x, weight, bias))
        if form is None:
            return static_depthwise(x, weight[0], bias, grid).to(dtype)
        weight = weight.expand(batch, -1, -1, -1, -1)
        return FORMS["depthwise"][form](x, weight, bias, grid).to(dtype)

    return _as_autocast(run, x, weight, bias)


def conditional_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, form: str | None = None
) -> Tensor:
    """x (B, I, H, W), weight (B or 1, O, I, k, k), k odd, stride 1, zero border -> (B, O, H, W)."""
    (batch, i, h, w), o, k = x.shape, weight.shape[1], _odd(weight)
    form = _form("conv", form, x, weight, (batch, h * w, i, o, k))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if form is None:
            return F.conv2d(x, weight[0], bias, padding=k // 2)
        return FORMS["conv"][form](x, weight.expand(batch, -1, -1, -1, -1), bias)

    return _as_autocast(run, x, weight, bias)


def _form(kind: str, asked: str | None, x: Tensor, weight: Tensor, shape: tuple) -> str | None:
    """The form's name, or None where one weight for all samples makes it a static layer."""
    if weight.shape[0] not in (1, x.shape[0]):
        raise CabenchError(
            f"{kind}: found {weight.shape[0]} weights for {x.shape[0]} samples; allowed: as many, "
            "or one"
        )
    if asked is not None:
        _known(asked, FORMS[kind], f"form of {kind}")
    if counting(x):
        return PLAIN[kind]
    asked = asked or overridden_form(kind)
    if asked is None and weight.shape[0] > 1:
        return choose(kind, *shape) if x.device.type == "cpu" else PLAIN[kind]
    return asked


def counting(x: Tensor) -> bool:
    """Do MAC counters look on: fvcore by tracing, FlopCounterMode on the meta device."""
    return torch.jit.is_tracing() or x.is_meta


def _odd(weight: Tensor) -> int:
    k = weight.shape[-1]
    if k % 2 == 0 or weight.shape[-2] != k:
        raise CabenchError(f"kernel: found {weight.shape[-2]}x{k}; allowed: square and odd")
    return k


def _as_autocast(run: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    """Runs on what autocast would make of a layer's inputs; our Function isn't on its list."""
    device = tensors[0].device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return run(*tensors)
    dtype, kept = torch.get_autocast_dtype(device), (None, torch.float64)
    cast = (t if getattr(t, "dtype", None) in kept else t.to(dtype) for t in tensors)
    with torch.autocast(device, enabled=False):
        return run(*cast)
