"""adaLN (DiT, arXiv 2212.09748, section 3.2): scale and shift of every norm, without gates."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method
from cabench.models.embedding import gather
from cabench.models.init import tag
from cabench.models.sites import Given, Modulation
from cabench.registry import METHODS


@METHODS.register("adaln")
class AdaLN(Method):
    """SiLU -> zero-initialised linear -> shift and scale of every norm; no gates."""

    distinct = True
    hooks = ("norm",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.norms = layout.norms
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, 2 * n.width), weight="zeros", bias="zeros") for n in self.norms
        )

    def forward(self, embedded) -> Given:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        pairs = zip(self.norms, self.maps, strict=True)
        return Given(
            modulation={n.address: Modulation(*linear(c).chunk(2, dim=1)) for n, linear in pairs}
        )
