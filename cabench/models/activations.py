"""GELU by tanh, as DiT has it (arXiv 1606.08415, section 2), in fewer passes on a CPU."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cabench.models.kernels import counting

# 0.5 (1 + tanh(z)) = sigmoid(2 z), with z = sqrt(2 / pi) (x + 0.044715 x^3)
LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR


def gelu_tanh(x: Tensor) -> Tensor:
    """x * 0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), of any shape.

    torch computes it with a tanh that costs three times a sigmoid, and again in backward: at nano a
    fifth of a training step (benchmarks/README.md). float32 on a CPU takes the form below.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or counting(x):
        return F.gelu(x, approximate="tanh")
    if torch.is_grad_enabled() and x.requires_grad:
        return _SigmoidGELU.apply(x)
    return x * _gate(x, x.square())


def _gate(x: Tensor, square: Tensor) -> Tensor:
    return (square * CUBIC).add_(LINEAR).mul_(x).sigmoid_()


class _SigmoidGELU(Function):
    """x s, s = sigmoid(a x + b x^3); its derivative s + x s (1 - s) (a + 3 b x^2) is kept."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        slope = x.square()
        s = _gate(x, slope)
        y = x * s
        slope.mul_(3 * CUBIC).add_(LINEAR).mul_(y)
        slope.addcmul_(slope, s, value=-1).add_(s)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return g * slope
