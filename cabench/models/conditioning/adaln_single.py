"""adaLN-single (PixArt-alpha, arXiv 2310.00426, section 2.3): one map for all blocks.

PixArt conditions it on the timestep only, and on the text by cross-attention; here `source` sets
its streams.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import Embedded, gather
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("adaln_single")
class AdaLNSingle(Method):
    """One map -> shift, scale and gate for all norms of a kind, plus a learned table per norm.

    Norms of a kind have the same width and place (first or second in a block, or before the head).
    Maps and tables start at zero (PixArt draws the tables at random).
    """

    distinct = True
    hooks = ("norm",)
    gated = True

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        counts: dict[str, int] = {}
        self.names: list[str] = []  # of the map that serves each norm
        for n in self.norms:
            kind = f"gated_{n.width}" if n.gated else f"last_{n.width}"
            place = counts.get(kind, 0) % 2  # first or second norm of a block
            counts[kind] = counts.get(kind, 0) + 1
            self.names.append(f"{kind}_{place}")
        sizes = {
            name: (3 if n.gated else 2) * n.width
            for name, n in zip(self.names, self.norms, strict=True)
        }
        self.maps = nn.ModuleDict(
            {
                name: tag(nn.Linear(width, size), weight="zeros", bias="zeros")
                for name, size in sizes.items()
            }
        )
        self.tables = nn.ParameterList(
            parameter(1, sizes[name], init="zeros") for name in self.names
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        shared = {name: linear(c) for name, linear in self.maps.items()}  # (B, 3 D) or (B, 2 D)
        modulation = {}
        for norm, name, table in zip(self.norms, self.names, self.tables, strict=True):
            parts = (shared[name] + table).chunk(3 if norm.gated else 2, dim=1)  # (B, D) each
            modulation[norm.address] = Modulation(*parts)
        return Conditioning(modulation=modulation)
