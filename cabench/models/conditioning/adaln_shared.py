"""One modulation for all blocks (Flux 2; DiT-Air, arXiv 2503.10618): adaLN-Zero, maps shared."""

from __future__ import annotations

from torch import nn

from cabench.models.conditioning.adaln_single import norm_kinds
from cabench.models.conditioning.base import Convention, Method
from cabench.models.conditioning.generators import MapOptions
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("adaln_shared")
class AdaLNShared(Method):
    """SiLU, then one map -> shift, scale and gate that all norms of a kind take unchanged.

    Norms of a kind have the same width and place (first or second in a block, or before the head).
    """

    version = 1
    Options = MapOptions
    distinct = True
    hooks = ("norm",)
    gated = True
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="shift, scale, gate, the same in all blocks",
        static="bias of the map; the norm has no affine",
        initial="0",
        published="",
    )

    def __init__(self, options: MapOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        self.kinds = norm_kinds(layout.norms)
        shapes = {
            kind: (3 if norm.gated else 2, norm.width)
            for kind, norm in zip(self.kinds, self.norms, strict=True)
        }
        self.maps = nn.ModuleDict(
            {kind: options.build(width, shape, bias=True) for kind, shape in shapes.items()}
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        shared = {  # (B, D) each
            kind: Modulation(*layer(c).unbind(1)) for kind, layer in self.maps.items()
        }
        pairs = zip(self.norms, self.kinds, strict=True)
        return Conditioning(modulation={norm.address: shared[kind] for norm, kind in pairs})
