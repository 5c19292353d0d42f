"""adaLN-Zero (DiT, arXiv 2212.09748, section 3.2): DiT's native conditioning."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import Embedded, gather
from cabench.models.init import tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("adaln_zero")
class AdaLNZero(Method):
    """SiLU, then a zero-initialised linear map per norm -> shift, scale and (in blocks) gate."""

    distinct = True
    hooks = ("norm",)
    gated = True

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, (3 if n.gated else 2) * n.width), weight="zeros", bias="zeros")
            for n in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        modulation = {}
        for norm, linear in zip(self.norms, self.maps, strict=True):
            parts = linear(c).chunk(3 if norm.gated else 2, dim=1)  # (B, D) each
            modulation[norm.address] = Modulation(*parts)
        return Conditioning(modulation=modulation)
