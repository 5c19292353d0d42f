"""Weight generators: condition (B, width) -> (B, *shape), zero at the start; and their options.

By default a generator is SiLU, then one linear map without a bias: the static weight W already is
the term that does not depend on the condition, and a second one would let W learn at twice the rate
of the static control's. Without the SiLU the contributions of label and timestep add up, so the
generated weight has no interaction of the two.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.conditioning.base import Method, VectorOptions
from cabench.models.conditioning.placement import SiteOptions
from cabench.models.embedding import TIMESTEP, Embedded
from cabench.models.init import parameter, tag

Rank = Annotated[int, Field(ge=1, le=100_000)]


class Linear(nn.Module):
    """c (B, ..., width) -> (B, ..., *shape), zero at the start; `bias=False` leaves it out."""

    additive = True  # without the bias, f(a + b) = f(a) + f(b)

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool):
        super().__init__()
        self.shape = shape
        self.weight = parameter(math.prod(shape), width, init="zeros")
        self.bias = parameter(math.prod(shape), init="zeros") if bias else None

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return F.linear(c, self.weight, self.bias if bias else None).unflatten(-1, self.shape)


class Bottleneck(Linear):
    """c (B, width) -> (B, rank) -> (B, *shape), both maps linear; zero at the start."""

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool, rank: int):
        super().__init__(rank, shape, bias)
        self.down = parameter(rank, width, init="lecun")

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return super().forward(F.linear(c, self.down), bias)


class MLP(Linear):
    """c (B, width) -> linear, SiLU -> (B, hidden) -> (B, *shape), zero at the start."""

    additive = False

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool, hidden: int):
        super().__init__(hidden, shape, bias)
        self.hidden = tag(nn.Linear(width, hidden), weight="lecun", bias="zeros")

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return super().forward(F.silu(self.hidden(c)), bias)


def generate(generator: nn.Module, method: Method, embedded: Embedded) -> Tensor:
    """What a generator makes of a method's source: (B, *shape), or (1, *shape) for all rows alike.

    Through a sampling trajectory (`embedded.cache`) a part of the source is computed only as often
    as it changes: the timestep's part for one row per step, the part of the other streams once.
    Where a source has both, that needs a generator that is additive in them, and no activation.
    """
    assert isinstance(generator, Linear)
    rest = tuple(name for name in method.source if name != TIMESTEP)
    timed, cache = len(rest) < len(method.source), embedded.cache
    additive = generator.additive and method.activation == "none"
    if cache is None or (timed and rest and not additive):
        return generator(method.condition(embedded))
    if not rest:
        return generator(method.condition(embedded)[:1])
    if generator not in cache:
        cache[generator] = generator(method.condition(embedded, rest))
    if not timed:
        return cache[generator]
    return cache[generator] + generator(method.condition(embedded, [TIMESTEP])[:1], bias=False)


class MapOptions(VectorOptions):
    """Options of methods that map the condition to what they modulate or generate."""

    generator: Literal["linear", "bottleneck", "mlp"] = Field(
        "linear", description="the map after the activation; mlp: linear, SiLU, linear"
    )
    rank: Rank | None = Field(
        None, description="of a bottleneck; hidden width of an mlp, by default the condition's"
    )

    @model_validator(mode="after")
    def rank_is_not_a_linear_ones(self) -> MapOptions:
        if self.rank is not None and self.generator == "linear":
            raise ValueError("rank needs generator: bottleneck or mlp")
        return self

    def set_size(self, by: str, size: int) -> bool:
        if by != "rank" or self.generator == "linear":
            return False
        self.rank = size
        return True

    def problem(self) -> str | None:
        if self.generator == "bottleneck" and self.rank is None:
            return "a bottleneck needs a rank, or match: {by: rank}"
        return None

    def build(self, width: int, shape: tuple[int, ...], bias: bool) -> Linear:
        """The map to a tensor of this shape."""
        if self.generator == "linear":
            return Linear(width, shape, bias)
        if self.generator == "mlp":
            return MLP(width, shape, bias, self.rank or width)
        assert self.rank is not None, "planning refuses a bottleneck without a rank"
        return Bottleneck(width, shape, bias, self.rank)


class GeneratorOptions(SiteOptions, MapOptions):
    """Options of methods that generate whole weights."""

    bias: bool = Field(
        False, description="a bias in the generator: a second term that depends on no condition"
    )
    scale: Literal["one", "fan_in"] = Field(
        "one",
        description="factor of the generated weight: 1, or 1 / sqrt(inputs of the layer), so that "
        "a step of the generator changes the layer's output less where the layer has many inputs",
    )

    def narrow(self, rank: int) -> bool:
        if self.rank is not None or self.generator == "bottleneck":
            return False
        self.generator = "bottleneck" if self.generator == "linear" else self.generator
        self.rank = rank
        return True
