"""FiLM (arXiv 1709.07871) in the form of AdaGN (arXiv 2105.05233): scale and shift, no gate.

One modulation a block, at its second norm, as one a residual block there; the norms keep their
learned affine, and the map of the condition has no activation. It starts at zero.
"""

from __future__ import annotations

from torch import nn

from cabench.models.conditioning.base import Method
from cabench.models.embedding import gather
from cabench.models.init import tag
from cabench.models.sites import Given, Modulation
from cabench.registry import METHODS


@METHODS.register("film")
class FiLM(Method):
    """Linear -> shift and scale after the affine norm before each feed-forward part."""

    distinct = True
    hooks = ("norm",)
    replaces_affine = False

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.norms = [n for n in layout.norms if n.gated][1::2]  # a block has two
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, 2 * n.width), weight="zeros", bias="zeros") for n in self.norms
        )

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        pairs = zip(self.norms, self.maps, strict=True)
        return Given(
            modulation={n.address: Modulation(*linear(c).chunk(2, dim=1)) for n, linear in pairs}
        )
