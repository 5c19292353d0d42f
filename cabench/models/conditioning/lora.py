"""LoRA conditioning (arXiv 2405.03958): W + sum_i w_i(c) B_i A_i on the weights of attention."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention, VectorOptions
from cabench.models.conditioning.placement import LinearSites, SiteMethod, chosen
from cabench.models.embedding import Embedded
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, LowRank
from cabench.models.sites import Layout, Site
from cabench.registry import METHODS


class LoRAOptions(VectorOptions):
    """Options of `lora`."""

    sites: LinearSites = Field(
        ["attn_qkv", "attn_out"], description="kinds of linear layer to adapt"
    )
    rank: Annotated[int, Field(ge=1, le=4096)] = Field(4, description="of each basis")
    bases: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="paper: 11 to 18")
    coefficients: Literal["linear", "mlp"] = Field(
        "linear",
        description="how the condition weights the bases; linear: without bias; mlp: a linear "
        "layer and SiLU for all layers, then a linear map with bias per layer",
    )


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
        biased = options.coefficients == "mlp"
        self.coefficients = tag(nn.Linear(width, options.bases, bias=biased), weight="lecun")
        if biased:
            tag(self.coefficients, bias="zeros")

    def forward(self, h: Tensor) -> LowRank:
        w = self.coefficients(h).repeat_interleave(self.rank, dim=1)  # (B, bases * rank)
        return LowRank(self.down, self.up, w)


@METHODS.register("lora")
class LoRA(SiteMethod):
    """W + a sum of low-rank bases weighted by a map of the condition; zero at the start."""

    version = 2
    Options = LoRAOptions
    published = {"activation": "none", "sum_scale": "one", "coefficients": "mlp"}
    convention = Convention(
        quantity="weight",
        static="W",
        initial="up 0; down and the map N(0, 1/inputs)",
        published="the layer's bias is conditional, too; down has the spread 1/rank; every layer "
        "has an MLP of its own",
    )

    def __init__(self, options: LoRAOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        sites = chosen(layout, options.sites)
        self.addresses = [site.address for site in sites]
        self.trunk = None
        if options.coefficients == "mlp":
            self.trunk = tag(nn.Linear(width, width), weight="lecun", bias="zeros")
        self.bases = nn.ModuleList(Bases(width, site, options) for site in sites)

    def forward(self, embedded: Embedded) -> Conditioning:
        h = self.condition(embedded)  # (B, width)
        if self.trunk is not None:
            h = F.silu(self.trunk(h))  # (B, width)
        pairs = zip(self.addresses, self.bases, strict=True)
        return Conditioning(operations={address: [bases(h)] for address, bases in pairs})
