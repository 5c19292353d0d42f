"""adaLN (DiT, arXiv 2212.09748, section 3.2): scale and shift of every norm, without gates."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import Embedded, gather
from cabench.models.init import tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("adaln")
class AdaLN(Method):
    """SiLU, then a zero-initialised linear map per norm -> its shift and scale."""

    distinct = True
    hooks = ("norm",)

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, 2 * norm.width), weight="zeros", bias="zeros")
            for norm in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        modulation = {}
        for norm, linear in zip(self.norms, self.maps, strict=True):
            modulation[norm.address] = Modulation(*linear(c).chunk(2, dim=1))  # (B, D) each
        return Conditioning(modulation=modulation)
