"""Scale and tanh gate, without a shift (Lumina-Image 2.0, Z-Image).

Both also normalise the branch's output before the gate; our backbones do not.
"""

from __future__ import annotations

import torch
from torch import nn

from cabench.models.conditioning.base import Convention, Method
from cabench.models.conditioning.generators import MapOptions
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("scale_gate")
class ScaleGate(Method):
    """SiLU, then a zero-initialised map per norm -> its scale s and, in blocks, gate tanh(g)."""

    version = 1
    Options = MapOptions
    distinct = True
    hooks = ("norm",)
    gated = True
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="scale, tanh of the gate of each norm",
        static="bias of the map; the norm has no affine",
        initial="0",
        published="a norm after each branch",
    )

    def __init__(self, options: MapOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        self.maps = nn.ModuleList(
            options.build(width, (2 if norm.gated else 1, norm.width), bias=True)
            for norm in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        modulation = {}
        for norm, layer in zip(self.norms, self.maps, strict=True):
            scale, *gate = layer(c).unbind(1)  # (B, D) each
            gates = [torch.tanh(g) for g in gate]
            modulation[norm.address] = Modulation(torch.zeros_like(scale), scale, *gates)
        return Conditioning(modulation=modulation)
