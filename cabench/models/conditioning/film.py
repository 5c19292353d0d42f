"""FiLM (arXiv 1709.07871) in the form of AdaGN (arXiv 2105.05233): scale and shift, no gate.

The norms keep their learned affine, which is the term that depends on no condition; so the map of
the condition has no bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cabench.models.conditioning.adaln import AdaLN
from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.generators import MapOptions
from cabench.models.sites import Layout, NormHook
from cabench.registry import METHODS


class FiLMOptions(MapOptions):
    """Options of `film`."""

    norms: Literal["all", "ffn"] = Field(
        "all", description="all: every norm, as adaLN; ffn: the one before each feed-forward part"
    )


@METHODS.register("film")
class FiLM(AdaLN):
    """SiLU, then a linear map per norm -> shift and scale after the affine norm."""

    version = 2
    Options = FiLMOptions
    replaces_affine = False
    published = {"sum_scale": "one", "norms": "ffn"}
    convention = Convention(
        quantity="shift, scale of each affine norm",
        static="the norm's affine; the map has no bias",
        initial="0",
        published="AdaGN has one modulation per residual block, by a map with a bias",
    )

    @staticmethod
    def modulated(options: FiLMOptions, layout: Layout) -> Sequence[NormHook]:
        second = [n for n in layout.norms if n.gated][1::2]  # the second of each block
        return layout.norms if options.norms == "all" else second
