"""Maps as further channels of the input: the patch embedding sees them beside the image.

A linear map of each patch is added to the patch embedding's output, which is the same as to
concatenate the maps to the image's channels (as in Palette, arXiv 2111.05826, and InstructPix2Pix,
arXiv 2211.09800, whose weights of the new channels start at zero, too).
"""

from __future__ import annotations

from torch import nn

from cabench.models.conditioning.base import Convention, MethodOptions
from cabench.models.conditioning.maps import MapsMethod, MapsOptions, patch_size, patches
from cabench.models.embedding import Embedded, total
from cabench.models.init import tag
from cabench.models.operations import Addition, Conditioning
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("map_concat")
class MapConcat(MapsMethod):
    """Maps are concatenated to the input's channels; the weights for them start at zero."""

    convention = Convention(
        quantity="output of the patch embedding",
        static="bias of the patch embedding; a null map adds 0",
        initial="0",
        published="",
    )

    @classmethod
    def sites(cls, options: MethodOptions, offered: tuple[str, ...]) -> tuple[str, ...]:
        return ("patch_embed",)

    def __init__(self, options: MapsOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        assert layout.grid is not None  # see `refuses`
        self.grid = layout.grid
        (site,) = (site for site in layout.sites if site.kind == "patch_embed")
        self.address = site.address
        self.maps = nn.ModuleDict(
            {
                name: tag(
                    nn.Linear(patch_size(layout.maps[name], self.grid), site.shape[0], bias=False),
                    weight="zeros",
                )
                for name in self.source
            }
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        # The maps stay the same through a sampling trajectory
        cache = {} if embedded.cache is None else embedded.cache
        if self not in cache:
            each = (m(patches(embedded.maps[name], self.grid)) for name, m in self.maps.items())
            cache[self] = Addition(total(each))  # (B, N, D)
        return Conditioning(operations={self.address: [cache[self]]})
