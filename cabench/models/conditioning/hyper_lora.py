"""Hyper-LoRA, after TC-LoRA (arXiv 2510.09561): a hypernetwork emits the low-rank factors."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import MethodOptions
from cabench.models.conditioning.placement import SiteMethod, serve
from cabench.models.embedding import gather
from cabench.models.init import parameter
from cabench.models.sites import LINEAR_SITES, Given, LowRank, Site
from cabench.registry import METHODS


class HyperLoRAOptions(MethodOptions):
    sites: Annotated[list[Literal[LINEAR_SITES]], Field(min_length=1)] = Field(
        ["attn_qkv", "attn_out"], description="kinds of linear layer to adapt"
    )
    rank: Annotated[int, Field(ge=1, le=4096)] = 4
    shared: bool = Field(
        False, description="one pair of generators for all layers of equal kind and shape"
    )


class Factors(nn.Module):
    """c (B, width) -> down (B, rank, in), up (B, out, rank), zero at first.

    `down` has the spread 1/sqrt(in) for each stream of the source.
    """

    def __init__(self, width: int, site: Site, rank: int):
        super().__init__()
        self.outputs, self.inputs = site.shape
        self.rank = rank
        self.down = parameter(rank * self.inputs, width, init="lecun")
        self.up = parameter(self.outputs * rank, width, init="zeros")

    def forward(self, c) -> LowRank:
        down = nn.functional.linear(c, self.down).unflatten(1, (self.rank, self.inputs))
        up = nn.functional.linear(c, self.up).unflatten(1, (self.outputs, self.rank))
        return LowRank(down / math.sqrt(self.inputs), up)


@METHODS.register("hyper_lora")
class HyperLoRA(SiteMethod):
    """W + B(c) A(c): both low-rank factors are linear in the condition; zero at the start."""

    Options = HyperLoRAOptions

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.served, self.factors = serve(
            layout, options, lambda site: Factors(width, site, options.rank)
        )

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        made = {name: factors(c) for name, factors in self.factors.items()}
        return Given(operations={a: [made[name]] for a, name in self.served.items()})
