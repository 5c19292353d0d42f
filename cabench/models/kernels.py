"""Layers with a weight per sample (CAN, arXiv 2404.01143, section 3.3), each in several forms.

x is (B, N, C) tokens or (B, C, H, W). The first axis of the weight is B, or 1 for one weight that
all samples share. All forms of a layer give the same result; `loop` is the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cabench.errors import CabenchError
from cabench.models.cuda_forms import choose_cuda
from cabench.models.kernel_forms import (
    COMPOSED,
    FORMS,
    PART,
    PLAIN,
    Grid,
    check_known,
    choose,
    is_composed,
    overridden_form,
    plain,
    register,
)

RULES: dict[str, Callable[..., str]] = {"cpu": choose, "cuda": choose_cuda}  # by type of device

# ---- linear --------------------------------------------------------------------------------------
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
    # Traced by torch 2.11, a Function that changes a tensor in place has gradients of zero
    if not (counting(x) or is_composed() or torch.compiler.is_compiling()):
        return _BatchedLinear.apply(x, weight, bias)
    y = torch.bmm(x, weight.transpose(1, 2))
    return y if bias is None else y + bias


class _BatchedLinear(Function):
    """One batched product whose weight gradient has the memory layout of the weight.

    Autograd's gradient is a transposed view of a (B, I, O) product. The generator behind it needs
    rows of O * I, so it would copy, at the cost of another product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = torch.bmm(x, weight.transpose(1, 2))
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            torch.bmm(g, weight) if for_x else None,
            torch.bmm(g.transpose(1, 2), x) if for_weight else None,
            g.sum((0, 1)) if for_bias else None,
        )


# ---- depthwise -----------------------------------------------------------------------------------
# x (B, N, C) on a grid, weight (B, C, 1, k, k), bias (C,) or None -> (B, N, C)


def static_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """One weight (C, 1, k, k) for all samples. Tokens are in channels-last order: no copy."""
    if is_composed():
        return _depthwise_taps(x, weight.unsqueeze(0), bias, grid)
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
    """Samples become channels, in channels-first order: groups = B * C, as in the paper."""
    (b, n, c), k = x.shape, weight.shape[-1]
    h = x.transpose(1, 2).reshape(1, b * c, *grid)
    y = F.conv2d(h, weight.reshape(b * c, 1, k, k), padding=k // 2, groups=b * c)
    # contiguous: the next layers are four times slower on a strided tensor
    y = y.view(b, c, n).transpose(1, 2).contiguous()
    return y if bias is None else y + bias


@register("depthwise", "wide")
def _depthwise_wide(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """`grouped` in channels-last order: a token holds the channels of all samples, (N, B * C).

    It copies whole rows of x, or nothing if x.transpose(0, 1) is contiguous. The output has the
    same layout: rows of C numbers, on which element-wise operators are as fast.
    """
    (b, n, c), k = x.shape, weight.shape[-1]
    h = x.transpose(0, 1).reshape(1, *grid, b * c).permute(0, 3, 1, 2)
    bias = None if bias is None else bias.repeat(b)
    y = F.conv2d(h, weight.reshape(b * c, 1, k, k), bias, padding=k // 2, groups=b * c)
    return y.permute(0, 2, 3, 1).reshape(n, b, c).transpose(0, 1)


@register("depthwise", "parts")
def _depthwise_parts(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """`wide` for some of the samples at a time, so that its copies fit the cache."""
    size = max(1, PART // x[0].numel())
    parts = zip(x.split(size), weight.split(size), strict=True)
    return torch.cat([_depthwise_wide(h, w, bias, grid) for h, w in parts])


@register("depthwise", "taps")
def _depthwise_taps(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """A sum over the k * k shifts of the grid: element-wise operations, which a compiler fuses."""
    y: Any = _Taps.apply(x.unflatten(1, grid), weight.squeeze(2))
    y = y.flatten(1, 2)
    return y if bias is None else y + bias


def take_kernels(weight: Tensor, index: Tensor) -> Tensor:
    """From the kernels (K, C, 1, k, k) of K conditions to those of B samples, at `index` (B,).

    Composed, whole rows of C numbers are copied, in the order in which `taps` reads them.
    """
    if not is_composed():
        return weight[index]
    return _written(weight.movedim(1, -1))[index].movedim(-1, 1)


class _Taps(Function):
    """x (B, H, W, C), weight (B or 1, C, k, k) -> (B, H, W, C), with few operations in the graph.

    The gradient for x is the same sum with the kernel turned by 180 degrees.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return _weighted_sum(_written(x), weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (b, c, k, _), g = weight.shape, _written(g)
        for_x = _weighted_sum(g, weight.flip((-1, -2)))
        products = _neighbours(_written(x), k) * g[:, :, :, None, None]  # (B, H, W, k, k, C)
        for_weight = products.sum((0, 1, 2) if b == 1 else (1, 2))
        return for_x, for_weight.view(b, k, k, c).permute(0, 3, 1, 2)


def _weighted_sum(x: Tensor, weight: Tensor) -> Tensor:
    """x (B, H, W, C), weight (B or 1, C, k, k) -> (B, H, W, C)."""
    k = weight.shape[-1]
    rows = _written(weight.permute(0, 2, 3, 1))[:, None, None]  # (B or 1, 1, 1, k, k, C)
    return (_neighbours(x, k) * rows).sum((-3, -2))


def _written(x: Tensor) -> Tensor:
    """x, in its order in memory. A compiler would compute it once per shift that reads it."""
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())  # Inductor stores what is strided


def _neighbours(x: Tensor, k: int) -> Tensor:
    """x (B, H, W, C) -> (B, H, W, k, k, C), a view of the padded grid."""
    edge = k // 2
    padded = F.pad(x, (0, 0, edge, edge, edge, edge))
    return padded.unfold(1, k, 1).unfold(2, k, 1).permute(0, 1, 2, 4, 5, 3)


# ---- full convolution ----------------------------------------------------------------------------
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
    """A batched product with the k * k neighbourhood of each position."""
    k = weight.shape[-1]
    y = torch.bmm(weight.flatten(2), F.unfold(x, k, padding=k // 2)).unflatten(2, x.shape[2:])
    return y if bias is None else y + bias.view(-1, 1, 1)


# ---- the layers ----------------------------------------------------------------------------------


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

    k is odd; padding is zero. On a CPU, bfloat16 and float16 are computed in float32 and the result
    is rounded: without AVX-512, torch convolves bfloat16 one group at a time.
    """
    batch, n, c = x.shape
    form = _form("depthwise", form, x, weight, (batch, n, c, c, _odd(weight)))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        dtype = x.dtype
        if x.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
            x, weight = x.float(), weight.float()
            bias = None if bias is None else bias.float()
        if form is None:
            return static_depthwise(x, weight[0], bias, grid).to(dtype)
        weight = weight.expand(batch, -1, -1, -1, -1)
        return FORMS["depthwise"][form](x, weight, bias, grid).to(dtype)

    return _as_autocast(run, x, weight, bias)


def conditional_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, form: str | None = None
) -> Tensor:
    """x (B, I, H, W), weight (B or 1, O, I, k, k), k odd -> (B, O, H, W); stride 1, zero-padded."""
    (batch, i, h, w), o, k = x.shape, weight.shape[1], _odd(weight)
    form = _form("conv", form, x, weight, (batch, h * w, i, o, k))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if form is None:
            return F.conv2d(x, weight[0], bias, padding=k // 2)
        return FORMS["conv"][form](x, weight.expand(batch, -1, -1, -1, -1), bias)

    return _as_autocast(run, x, weight, bias)


def _form(
    kind: str, form: str | None, x: Tensor, weight: Tensor, shape: tuple[int, ...]
) -> str | None:
    """The form to run, or None where one shared weight makes this a static layer."""
    if weight.shape[0] not in (1, x.shape[0]):
        raise CabenchError(
            f"{kind}: expected {x.shape[0]} weights, as many as samples, or 1; "
            f"got {weight.shape[0]}"
        )
    if form is not None:
        check_known(form, FORMS[kind], f"form of {kind}")
    if counting(x):
        return PLAIN[kind]
    if is_composed():
        return COMPOSED[kind] if weight.shape[0] > 1 else None
    form = form or overridden_form(kind)
    if form is None and weight.shape[0] > 1:
        return RULES.get(x.device.type, plain)(kind, *shape)
    return form


def counting(x: Tensor) -> bool:
    """Is a MAC counter at work: fvcore (by tracing) or FlopCounterMode (on the meta device)?"""
    return torch.jit.is_tracing() or x.is_meta  # pyright: ignore[reportPrivateImportUsage]


def _odd(weight: Tensor) -> int:
    k = weight.shape[-1]
    if k % 2 == 0 or weight.shape[-2] != k:
        raise CabenchError(f"kernel: expected a square of odd size, got {weight.shape[-2]}x{k}")
    return k


def has_autocast(device: str) -> bool:
    """Whether torch has automatic mixed precision for a type of device."""
    return torch.amp.is_autocast_available(device)


def _as_autocast(
    run: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Casts the inputs as autocast casts those of a layer; it does not know our Function."""
    device = x.device.type
    if not (has_autocast(device) and torch.is_autocast_enabled(device)):
        return run(x, weight, bias)
    dtype = torch.get_autocast_dtype(device)
    cast = (t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in (x, weight, bias))
    with torch.autocast(device, enabled=False):
        return run(*cast)
