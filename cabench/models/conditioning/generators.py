"""Weight generators: condition (B, width) -> (B, *shape), zero at the start, and their options.

Linear generators have no activation, so the label's and the timestep's parts add up. They have no
bias either: W already is the part that doesn't depend on the condition, and a second copy of it
would let W alone learn at twice the rate of the static control's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.conditioning.placement import SiteOptions
from cabench.models.embedding import TIMESTEP, Embedded, gather
from cabench.models.init import parameter, tag

Rank = Annotated[int, Field(ge=1, le=100_000)]


class Linear(nn.Module):
    """c (B, width) -> (B, *shape), zero at the start; `bias=False` leaves the bias out."""

    additive = True  # without its bias, what it makes of a sum is the sum of what it makes

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool):
        super().__init__()
        self.shape = shape
        self.weight = parameter(math.prod(shape), width, init="zeros")
        self.bias = parameter(math.prod(shape), init="zeros") if bias else None

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return F.linear(c, self.weight, self.bias if bias else None).unflatten(1, self.shape)


class Bottleneck(Linear):
    """c (B, width) -> (B, rank) -> (B, *shape); linear throughout, zero at the start."""

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool, rank: int):
        super().__init__(rank, shape, bias)
        self.down = parameter(rank, width, init="lecun")

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return super().forward(F.linear(c, self.down), bias)


class MLP(Linear):
    """c (B, width) -> linear -> SiLU (B, hidden) -> (B, *shape), zero at the start."""

    additive = False

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool, hidden: int):
        super().__init__(hidden, shape, bias)
        self.hidden = tag(nn.Linear(width, hidden), weight="lecun", bias="zeros")

    def forward(self, c: Tensor, bias: bool = True) -> Tensor:
        return super().forward(F.silu(self.hidden(c)), bias)


def generated(generator: Linear, embedded: Embedded, source: tuple[str, ...]) -> Tensor:
    """What `generator` makes of the source's sum: (B, *shape), or (1, *shape), the same for all.

    Through a trajectory of sampling (`embedded.kept`) the timestep's part is made for one row a
    step and the part of the other streams once, where the two add up or only one is told.
    """
    rest = tuple(name for name in source if name != TIMESTEP)
    timed, kept = len(rest) < len(source), embedded.kept
    if kept is None or (timed and rest and not generator.additive):
        return generator(gather(embedded, source))
    if not rest:
        return generator(embedded[TIMESTEP][:1])
    if generator not in kept:
        kept[generator] = generator(gather(embedded, rest))
    if not timed:
        return kept[generator]
    return kept[generator] + generator(embedded[TIMESTEP][:1], bias=False)


class GeneratorOptions(SiteOptions):
    """Options of methods that generate whole weights."""

    generator: Literal["linear", "bottleneck", "mlp"] = "linear"
    rank: Rank | None = Field(None, description="of a bottleneck; hidden width of an mlp")
    bias: bool = Field(False, description="a bias in the generator")

    @model_validator(mode="after")
    def rank_is_not_a_linear_ones(self) -> GeneratorOptions:
        if self.rank is not None and self.generator == "linear":
            raise ValueError("rank is the size of a bottleneck: say generator: bottleneck")
        return self

    def set_size(self, by: str, size: int) -> bool:
        if by != "rank" or self.generator == "linear":
            return False
        self.rank = size
        return True

    def narrow(self, rank: int) -> bool:
        if self.rank is not None or self.generator == "bottleneck":
            return False
        self.generator = "bottleneck" if self.generator == "linear" else self.generator
        self.rank = rank
        return True

    def problem(self) -> str | None:
        if self.generator == "bottleneck" and self.rank is None:
            return "a bottleneck needs a rank, or match: {by: rank}"
        return None

    def build(self, width: int, shape: tuple[int, ...]) -> Linear:
        return BUILD[self.generator](self, width, shape)


BUILD: dict[str, Callable[[GeneratorOptions, int, tuple[int, ...]], Linear]] = {
    "linear": lambda o, width, shape: Linear(width, shape, o.bias),
    "bottleneck": lambda o, width, shape: Bottleneck(width, shape, o.bias, o.rank),
    "mlp": lambda o, width, shape: MLP(width, shape, o.bias, o.rank or width),
}
