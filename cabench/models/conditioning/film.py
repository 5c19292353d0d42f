"""FiLM (arXiv 1709.07871) in the form of AdaGN (arXiv 2105.05233): scale and shift, no gate.

The norms keep their learned affine, which is the term that depends on no condition; so the map of
the condition has no bias.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Convention, Method
from cabench.models.conditioning.generators import MapOptions
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


class FiLMOptions(MapOptions):
    """Options of `film`."""

    norms: Literal["all", "ffn"] = Field(
        "all", description="all: every norm, as adaLN; ffn: the one before each feed-forward part"
    )


@METHODS.register("film")
class FiLM(Method):
    """SiLU, then a linear map per norm -> shift and scale after the affine norm."""

    version = 2
    Options = FiLMOptions
    distinct = True
    hooks = ("norm",)
    replaces_affine = False
    published = {"sum_scale": "one", "norms": "ffn"}
    convention = Convention(
        quantity="shift, scale of each affine norm",
        static="the norm's affine; the map has no bias",
        initial="0",
        published="AdaGN has one modulation per residual block, by a map with a bias",
    )

    def __init__(self, options: FiLMOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        second = [n for n in layout.norms if n.gated][1::2]  # the second of each block
        self.norms = list(layout.norms) if options.norms == "all" else second
        self.maps = nn.ModuleList(
            options.build(width, (2, norm.width), bias=False) for norm in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        modulation = {}
        for norm, layer in zip(self.norms, self.maps, strict=True):
            modulation[norm.address] = Modulation(*layer(c).unbind(1))  # (B, D) each
        return Conditioning(modulation=modulation)
