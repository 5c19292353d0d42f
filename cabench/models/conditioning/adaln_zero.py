"""adaLN-Zero (DiT, arXiv 2212.09748, section 3.2): DiT's native conditioning."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method
from cabench.models.embedding import gather
from cabench.models.init import tag
from cabench.models.sites import Given, Modulation
from cabench.registry import METHODS


@METHODS.register("adaln_zero")
class AdaLNZero(Method):
    """SiLU -> zero-initialised linear -> shift, scale (and gate in the blocks) of every norm."""

    distinct = True
    hooks = ("norm",)
    gated = True

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.norms = layout.norms
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, (3 if n.gated else 2) * n.width), weight="zeros", bias="zeros")
            for n in self.norms
        )

    def forward(self, embedded) -> Given:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        return Given(
            modulation={
                norm.address: Modulation(*linear(c).chunk(3 if norm.gated else 2, dim=1))
                for norm, linear in zip(self.norms, self.maps, strict=True)
            }
        )
