"""FiLM (arXiv 1709.07871) in the form of AdaGN (arXiv 2105.05233): scale and shift, no gate.

One modulation per block, at its second norm, as AdaGN has one per residual block. The norms keep
their learned affine; the map of the condition has no activation and starts at zero.
"""

from __future__ import annotations

from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import Embedded, gather
from cabench.models.init import tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("film")
class FiLM(Method):
    """A linear map -> shift and scale after the affine norm before each feed-forward part."""

    distinct = True
    hooks = ("norm",)
    replaces_affine = False

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = [n for n in layout.norms if n.gated][1::2]  # the second of each block
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, 2 * n.width), weight="zeros", bias="zeros") for n in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = gather(embedded, self.source)  # (B, width)
        modulation = {}
        for norm, linear in zip(self.norms, self.maps, strict=True):
            modulation[norm.address] = Modulation(*linear(c).chunk(2, dim=1))  # (B, D) each
        return Conditioning(modulation=modulation)
