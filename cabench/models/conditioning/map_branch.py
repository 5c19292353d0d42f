"""An encoder of the maps beside the backbone, added to each block's input by zero projections.

The projections that start at zero are those of ControlNet (arXiv 2302.05543), whose branch is a
copy of the network that sees the noisy image, too. Here it is a small convolutional encoder of the
maps alone, as in T2I-Adapter (arXiv 2302.08453), so that it runs once per image in sampling.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.maps import MapsMethod, MapsOptions, patch_size, patches
from cabench.models.embedding import Embedded, total
from cabench.models.init import tag
from cabench.models.kernel_forms import Grid
from cabench.models.operations import Branch, Conditioning
from cabench.models.sites import BranchHook, Layout
from cabench.registry import METHODS


class MapBranchOptions(MapsOptions):
    """Options of `map_branch`."""

    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="channels of the encoder; default: half of the blocks' width"
    )


class Encoder(nn.Module):
    """Maps of each stream -> an update (B, N, D) for each block with this grid of tokens.

    A linear layer per patch, then per block a 3x3 convolution with a skip, and a projection that
    starts at zero.
    """

    def __init__(self, hooks: list[BranchHook], sizes: dict[str, int], hidden: int | None):
        super().__init__()
        (self.grid,) = {hook.grid for hook in hooks}
        hidden = hidden or max(1, hooks[0].width // 2)
        self.addresses = [hook.address for hook in hooks]
        self.embed = nn.ModuleDict(
            {
                name: tag(nn.Linear(size, hidden), weight="xavier", bias="zeros")
                for name, size in sizes.items()
            }
        )
        self.blocks = nn.ModuleList(
            tag(nn.Conv2d(hidden, hidden, 3, padding=1), weight="xavier", bias="zeros")
            for _ in hooks
        )
        self.out = nn.ModuleList(
            tag(nn.Linear(hidden, hook.width), weight="zeros", bias="zeros") for hook in hooks
        )

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.grid is not None  # see `refuses`
        h = total(linear(patches(maps[name], self.grid)) for name, linear in self.embed.items())
        h = h.transpose(1, 2).unflatten(2, self.grid)  # (B, hidden, h, w)
        updates = {}
        for address, block, out in zip(self.addresses, self.blocks, self.out, strict=True):
            h = h + F.gelu(block(h))
            updates[address] = out(h.flatten(2).transpose(1, 2))  # (B, N, D)
        return updates


def at_image_tokens(x: Tensor, update: Tensor) -> Tensor:
    """The update (B, N, D) of the image's tokens in x (B, T + N, D), with zeros for the others."""
    extra = x.shape[1] - update.shape[1]
    return update if extra == 0 else torch.cat([torch.zeros_like(x[:, :extra]), update], 1)


@METHODS.register("map_branch")
class MapBranch(MapsMethod):
    """A convolutional encoder of the maps adds to each block's input; zero at the start."""

    Options = MapBranchOptions
    hooks = ("block",)
    convention = Convention(
        quantity="input of each block",
        static="bias of the output projections",
        initial="output projections 0, others Xavier",
        published="ControlNet: a copy of the network that sees the noisy image, too",
    )

    @classmethod
    def grids(cls, layout: Layout) -> Iterable[Grid | None]:
        return dict.fromkeys(hook.grid for hook in layout.branches if hook.hook == "block")

    def __init__(self, options: MapBranchOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        by_grid: dict[Grid, list[BranchHook]] = {}
        for hook in layout.branches:
            if hook.hook == "block" and hook.grid is not None:
                by_grid.setdefault(hook.grid, []).append(hook)
        self.encoders = nn.ModuleDict(
            {
                "x".join(map(str, grid)): Encoder(
                    hooks,
                    {name: patch_size(layout.maps[name], grid) for name in self.source},
                    options.hidden,
                )
                for grid, hooks in by_grid.items()
            }
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        # The maps stay the same through a sampling trajectory
        cache = {} if embedded.cache is None else embedded.cache
        if self not in cache:
            updates: dict[str, Tensor] = {}
            for encoder in self.encoders.values():
                updates |= encoder(embedded.maps)
            cache[self] = {a: Branch(at_image_tokens, (u,)) for a, u in updates.items()}
        return Conditioning(branches=cache[self])
