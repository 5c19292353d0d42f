"""GELU in its tanh form, as in DiT (arXiv 1606.08415, section 2), with fewer passes on a CPU."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cabench.models.kernel_forms import is_composed
from cabench.models.kernels import counting

# 0.5 (1 + tanh(z)) = sigmoid(2 z), with z = sqrt(2 / pi) (x + 0.044715 x^3)
LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR


def gelu_tanh(x: Tensor) -> Tensor:
    """x * 0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), for any shape.

    torch's own form needs a tanh, which costs three times a sigmoid, and again in the backward
    pass: a fifth of a training step at nano (benchmarks/README.md). float32 on a CPU takes the
    form below, everything else torch's.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or counting(x):
        return F.gelu(x, approximate="tanh")
    if is_composed():
        return x * torch.sigmoid((x.square() * CUBIC + LINEAR) * x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _SigmoidGELU.apply(x)
    return x * _gate(x, x.square())


def _gate(x: Tensor, square: Tensor) -> Tensor:
    return (square * CUBIC).add_(LINEAR).mul_(x).sigmoid_()


class _SigmoidGELU(Function):
    """x s with s = sigmoid(a x + b x^3).

    The forward pass saves the derivative, s + x s (1 - s) (a + 3 b x^2).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        slope = x.square()
        s = _gate(x, slope)
        y = x * s
        slope.mul_(3 * CUBIC).add_(LINEAR).mul_(y)
        slope.addcmul_(slope, s, value=-1).add_(s)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return g * slope
