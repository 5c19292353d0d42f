"""LoRA conditioning (arXiv 2405.03958): W + sum_i w_i(c) B_i A_i on the weights of attention."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import MethodOptions
from cabench.models.conditioning.placement import LinearSites, SiteMethod, chosen
from cabench.models.embedding import Embedded, gather
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, LowRank
from cabench.models.sites import Layout, Site
from cabench.registry import METHODS


class LoRAOptions(MethodOptions):
    """Options of `lora`."""

    sites: LinearSites = Field(
        ["attn_qkv", "attn_out"], description="kinds of linear layer to adapt"
    )
    rank: Annotated[int, Field(ge=1, le=4096)] = Field(4, description="of each basis")
    bases: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="paper: 11 to 18")


class Bases(nn.Module):
    """The bases of a layer, side by side: down (bases * rank, inputs), up (outputs, bases * rank).

    h (B, width) -> their weighted sum as a LowRank operation.
    """

    def __init__(self, width: int, site: Site, options: LoRAOptions):
        super().__init__()
        outputs, inputs = site.shape
        self.rank = options.rank
        self.down = parameter(options.bases * options.rank, inputs, init="lecun")
        self.up = parameter(outputs, options.bases * options.rank, init="zeros")
        self.coefficients = tag(nn.Linear(width, options.bases), weight="lecun", bias="zeros")

    def forward(self, h: Tensor) -> LowRank:
        w = self.coefficients(h).repeat_interleave(self.rank, dim=1)  # (B, bases * rank)
        return LowRank(self.down, self.up, w)


@METHODS.register("lora")
class LoRA(SiteMethod):
    """W + a sum of low-rank bases weighted by an MLP of the condition; zero at the start."""

    Options = LoRAOptions

    def __init__(self, options: LoRAOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        sites = chosen(layout, options.sites)
        self.addresses = [site.address for site in sites]
        self.trunk = tag(nn.Linear(width, width), weight="lecun", bias="zeros")  # of the MLP
        self.bases = nn.ModuleList(Bases(width, site, options) for site in sites)

    def forward(self, embedded: Embedded) -> Conditioning:
        h = F.silu(self.trunk(gather(embedded, self.source)))  # (B, width)
        pairs = zip(self.addresses, self.bases, strict=True)
        return Conditioning(operations={address: [bases(h)] for address, bases in pairs})
