"""adaLN-single (PixArt-alpha, arXiv 2310.00426, section 2.3): one map for all blocks.

PixArt conditions it on the timestep only, and on the text by cross-attention; here `source` sets
its streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Convention, Method, VectorOptions
from cabench.models.conditioning.generators import Linear
from cabench.models.embedding import Embedded
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, Modulation
from cabench.models.sites import Layout, NormHook
from cabench.registry import METHODS


class AdaLNSingleOptions(VectorOptions):
    """Options of `adaln_single`."""

    form: Literal["zero", "pixart"] = Field(
        "zero",
        description="zero: maps without bias, all values start at 0; pixart: a bias, maps start at "
        "N(0, 0.02^2), tables at N(0, 1/D), and the last norm adds the embedding to its table",
    )


@METHODS.register("adaln_single")
class AdaLNSingle(Method):
    """One map -> shift, scale and gate for all norms of a kind, plus a learned table per norm.

    Norms of a kind have the same width and place (first or second in a block, or before the head).
    The form `pixart` follows PixArt's released model; its last norm takes the embedding itself,
    which needs the norm's width.
    """

    version = 2
    Options = AdaLNSingleOptions
    distinct = True
    hooks = ("norm",)
    gated = True
    published = {"sum_scale": "one", "form": "pixart"}
    convention = Convention(
        quantity="shift, scale, gate of each norm",
        static="the norm's table; the map has no bias, the norm no affine",
        initial="0",
        published="",
    )

    @classmethod
    def refuses(cls, options: AdaLNSingleOptions, layout: Layout) -> str | None:
        if options.form == "pixart" and len({n.width for n in layout.norms}) > 1:
            return "form: expected 'zero' where norms differ in width, got 'pixart'"
        return None

    def __init__(self, options: AdaLNSingleOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.norms = layout.norms
        self.pixart = options.form == "pixart"
        self.names = norm_kinds(self.norms)  # of the map that serves each norm
        shapes = {
            name: (3 if n.gated else 2, n.width)
            for name, n in zip(self.names, self.norms, strict=True)
            if n.gated or not self.pixart
        }
        self.maps = nn.ModuleDict(
            {name: Linear(width, shape, self.pixart) for name, shape in shapes.items()}
        )
        if self.pixart:
            for linear in self.maps.values():
                tag(linear, weight="normal02")
        self.tables = nn.ParameterList(
            parameter(1, 3 if n.gated else 2, n.width, init="normal", scale=n.width**-0.5)
            if self.pixart
            else parameter(1, 3 if n.gated else 2, n.width, init="zeros")
            for n in self.norms
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        shared = {name: linear(c) for name, linear in self.maps.items()}  # (B, 2 or 3, D)
        raw = self.summed(embedded).unsqueeze(1)  # (B, 1, width)
        modulation = {}
        for norm, name, table in zip(self.norms, self.names, self.tables, strict=True):
            parts = shared.get(name, raw) + table  # (B, 2 or 3, D)
            modulation[norm.address] = Modulation(*parts.unbind(1))  # (B, D) each
        return Conditioning(modulation=modulation)


def norm_kinds(norms: Sequence[NormHook]) -> list[str]:
    """The kind of each norm: its width, and its place in a block or before the head."""
    counts: dict[str, int] = {}
    names = []
    for n in norms:
        kind = f"gated_{n.width}" if n.gated else f"last_{n.width}"
        place = counts.get(kind, 0) % 2  # first or second norm of a block
        counts[kind] = counts.get(kind, 0) + 1
        names.append(f"{kind}_{place}")
    return names
