"""Hyper-LoRA, after TC-LoRA (arXiv 2510.09561): a hypernetwork generates the low-rank factors."""

from __future__ import annotations

import math
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention, VectorOptions
from cabench.models.conditioning.placement import LinearSites, SiteMethod, serve
from cabench.models.embedding import Embedded
from cabench.models.init import parameter
from cabench.models.operations import Conditioning, LowRank
from cabench.models.sites import Layout, Site
from cabench.registry import METHODS


class HyperLoRAOptions(VectorOptions):
    """Options of `hyper_lora`."""

    sites: LinearSites = Field(
        ["attn_qkv", "attn_out"], description="kinds of linear layer to adapt"
    )
    rank: Annotated[int, Field(ge=1, le=4096)] = Field(4, description="of both factors")
    shared: bool = Field(
        False, description="one pair of generators for all layers of equal kind and shape"
    )


class Factors(nn.Module):
    """c (B, width) -> down (B, rank, inputs) and up (B, outputs, rank); `up` starts at zero.

    `down` has the spread 1 / sqrt(inputs) where c has an RMS of 1.
    """

    def __init__(self, width: int, site: Site, rank: int):
        super().__init__()
        self.outputs, self.inputs = site.shape
        self.rank = rank
        self.down = parameter(rank * self.inputs, width, init="lecun")
        self.up = parameter(self.outputs * rank, width, init="zeros")

    def forward(self, c: Tensor) -> LowRank:
        down = F.linear(c, self.down).unflatten(1, (self.rank, self.inputs))  # (B, rank, inputs)
        up = F.linear(c, self.up).unflatten(1, (self.outputs, self.rank))  # (B, outputs, rank)
        return LowRank(down / math.sqrt(self.inputs), up)


@METHODS.register("hyper_lora")
class HyperLoRA(SiteMethod):
    """W + B(c) A(c): SiLU, then a linear map to each low-rank factor; zero at the start."""

    version = 2
    Options = HyperLoRAOptions
    convention = Convention(
        quantity="weight, as the product of two factors",
        static="W",
        initial="up 0; down N(0, 1/inputs)",
        published="a hypernetwork of several layers, which differs with the layer by an embedding",
    )

    def __init__(self, options: HyperLoRAOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.served, self.factors = serve(
            layout, options, lambda site: Factors(width, site, options.rank)
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        operations = {name: factors(c) for name, factors in self.factors.items()}
        return Conditioning(operations={a: [operations[name]] for a, name in self.served.items()})
