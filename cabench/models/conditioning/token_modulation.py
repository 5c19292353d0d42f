"""A modulation of its own for each token of the image (DDT, arXiv 2504.05741).

DDT's decoder modulates token n by a map of SiLU(t + z_n), where z_n is the output of an encoder: a
stack of blocks, conditioned on timestep and label, that sees the noised image. Here there is no
encoder and no second set of blocks: z_n is a linear map of the normalised token itself, one map per
norm, and c holds the label, too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention, Method
from cabench.models.conditioning.generators import MapOptions
from cabench.models.embedding import Embedded
from cabench.models.init import tag
from cabench.models.operations import Branch, Conditioning, Modulation
from cabench.models.sites import Layout, NormHook
from cabench.registry import METHODS


class TokenMap(nn.Module):
    """h (B, N, D), the sum of the streams (B, width) -> Modulation, one per token."""

    def __init__(self, norm: NormHook, width: int, options: MapOptions, divisor: float):
        super().__init__()
        self.own = tag(nn.Linear(norm.width, width, bias=False), weight="lecun")
        self.outer = options.build(width, (3 if norm.gated else 2, norm.width), bias=True)
        self.divisor, self.activation = divisor, options.activation

    def forward(self, h: Tensor, summed: Tensor) -> Modulation:
        c = summed.unsqueeze(1) + self.own(h) / self.divisor  # (B, N, width)
        c = F.silu(c) if self.activation == "silu" else c
        return Modulation(*self.outer(c).unbind(2))  # (B, N, D) each


@METHODS.register("token_modulation")
class TokenModulation(Method):
    """Norm i modulates token n by W_i SiLU(c + z_n) + b_i, z_n = A_i h_n: shift, scale and gate.

    h_n is the normalised token. z_n counts as one more stream of the sum.
    """

    version = 1
    Options = MapOptions
    distinct = True
    hooks = ("norm",)
    gated = True
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="shift, scale, gate of each norm, one per token",
        static="bias of the map; the norm has no affine",
        initial="0; the tokens' map N(0, 1/inputs)",
        condition="(streams + z of the token) / sqrt(k + 1), SiLU, linear",
        published="DDT: z_n, the same for all norms, is the output of an encoder of several blocks",
    )

    def __init__(self, options: MapOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        if options.sum_scale == "sqrt":
            self.divisor = (len(self.source) + 1) ** 0.5
        self.addresses = [norm.address for norm in layout.norms]
        self.maps = nn.ModuleList(
            TokenMap(norm, width, options, self.divisor) for norm in layout.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.summed(embedded)  # (B, width)
        pairs = zip(self.addresses, self.maps, strict=True)
        return Conditioning(modulation={address: Branch(m, (c,)) for address, m in pairs})
