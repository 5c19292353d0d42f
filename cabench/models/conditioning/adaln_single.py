"""adaLN-single (PixArt-alpha, arXiv 2310.00426, section 2.3): one map for all blocks.

PixArt tells it the timestep alone, and the text by cross-attention; here `source` says which.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from cabench.models.conditioning.base import Method
from cabench.models.embedding import gather
from cabench.models.init import parameter, tag
from cabench.models.sites import Given, Modulation
from cabench.registry import METHODS


@METHODS.register("adaln_single")
class AdaLNSingle(Method):
    """One map -> shift, scale, gate for norms of equal width and kind, plus a learned table each.

    Map and tables are zero at the start (PixArt draws the tables at random).
    """

    distinct = True
    hooks = ("norm",)
    gated = True

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.norms = layout.norms
        places: dict[str, int] = {}  # of a norm among its like: first and second of each block
        self.names = []
        for n in self.norms:
            kind = f"gated_{n.width}" if n.gated else f"last_{n.width}"
            place = places[kind] = places.get(kind, -1) + 1
            self.names.append(f"{kind}_{place % 2}")
        parts = {name: 3 if n.gated else 2 for name, n in zip(self.names, self.norms, strict=True)}
        widths = {name: n.width for name, n in zip(self.names, self.norms, strict=True)}
        self.maps = nn.ModuleDict(
            {
                name: tag(nn.Linear(width, count * widths[name]), weight="zeros", bias="zeros")
                for name, count in parts.items()
            }
        )
        self.tables = nn.ParameterList(
            parameter(1, parts[name] * n.width, init="zeros")
            for name, n in zip(self.names, self.norms, strict=True)
        )

    def forward(self, embedded) -> Given:
        c = F.silu(gather(embedded, self.source))  # (B, width)
        shared = {name: linear(c) for name, linear in self.maps.items()}
        triples = zip(self.norms, self.names, self.tables, strict=True)
        return Given(
            modulation={
                n.address: Modulation(*(shared[name] + table).chunk(3 if n.gated else 2, dim=1))
                for n, name, table in triples
            }
        )
