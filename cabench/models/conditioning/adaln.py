"""adaLN (DiT, arXiv 2212.09748, section 3.2): scale and shift of every norm, without gates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cabench.models.conditioning.base import Convention, Method
from cabench.models.conditioning.generators import MapOptions
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout, NormHook
from cabench.registry import METHODS


@METHODS.register("adaln")
class AdaLN(Method):
    """SiLU, then a zero-initialised linear map per norm -> its shift and scale."""

    version = 2
    Options = MapOptions
    distinct = True
    hooks = ("norm",)
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="shift, scale of each norm",
        static="bias of the map; the norm has no affine",
        initial="0",
        published="DiT released no code for adaLN without gates",
    )

    def __init__(self, options: MapOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = self.modulated(options, layout)
        bias = self.replaces_affine  # an affine norm has the term without condition already
        self.maps = nn.ModuleList(
            options.build(width, (self.parts(norm), norm.width), bias) for norm in self.norms
        )

    @staticmethod
    def modulated(options: MapOptions, layout: Layout) -> Sequence[NormHook]:
        """The norms that it modulates."""
        return layout.norms

    def parts(self, norm: NormHook) -> int:
        """How many vectors of the norm's width its map returns."""
        return 3 if self.gated and norm.gated else 2

    @staticmethod
    def modulation(parts: Sequence[Tensor]) -> Modulation:
        """The modulation by the vectors (B, D) that a norm's map returns."""
        return Modulation(*parts)

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        modulation = {}
        for norm, layer in zip(self.norms, self.maps, strict=True):
            modulation[norm.address] = self.modulation(layer(c).unbind(1))
        return Conditioning(modulation=modulation)
