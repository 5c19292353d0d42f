"""One MLP that writes all modulations, as Chroma's approximator does for FLUX's blocks.

Chroma's has several residual layers and also takes the guidance scale.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Convention, Method, VectorOptions
from cabench.models.embedding import Embedded
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout
from cabench.registry import METHODS

PLACE_SPREAD = 0.5  # of e: that of V c, since SiLU of a normalised stream has an RMS of 0.5


class ModulatorOptions(VectorOptions):
    """Options of `modulator`."""

    hidden: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="hidden width of the MLP, by default the condition's"
    )

    def set_size(self, by: str, size: int) -> bool:
        if by != "rank":
            return False
        self.hidden = size
        return True


@METHODS.register("modulator")
class Modulator(Method):
    """Norm i takes b_i + U SiLU(V c + e_i): shift, scale and (in blocks) gate.

    V is shared by all norms, U by those of one width and number of values; e_i and b_i are learned
    tables. c is the condition after SiLU.
    """

    version = 1
    Options = ModulatorOptions
    distinct = True
    hooks = ("norm",)
    gated = True
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="shift, scale, gate of each norm",
        static="the norm's table b; the norm has no affine",
        initial="U, b 0; V N(0, 1/inputs); e N(0, 0.5^2), as V c",
        published="several residual layers; the guidance scale as a condition",
    )

    def __init__(self, options: ModulatorOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        hidden = options.hidden or width
        self.inner = tag(nn.Linear(width, hidden, bias=False), weight="lecun")
        counts = [3 if norm.gated else 2 for norm in self.norms]
        self.kinds = [f"{k}x{n.width}" for k, n in zip(counts, self.norms, strict=True)]
        shapes = zip(self.kinds, counts, self.norms, strict=True)
        sizes = {kind: k * n.width for kind, k, n in shapes}
        self.outer = nn.ModuleDict(
            {
                kind: tag(nn.Linear(hidden, size, bias=False), weight="zeros")
                for kind, size in sizes.items()
            }
        )
        self.places = nn.ParameterList(
            parameter(1, hidden, init="normal", scale=PLACE_SPREAD) for _ in self.norms
        )
        self.tables = nn.ParameterList(
            parameter(1, k, n.width, init="zeros") for k, n in zip(counts, self.norms, strict=True)
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        h = self.inner(self.condition(embedded))  # (B, hidden)
        modulation = {}
        parts = zip(self.norms, self.kinds, self.places, self.tables, strict=True)
        for norm, kind, place, table in parts:
            values = self.outer[kind](F.silu(h + place)).unflatten(1, table.shape[1:]) + table
            modulation[norm.address] = Modulation(*values.unbind(1))  # (B, D) each
        return Conditioning(modulation=modulation)
