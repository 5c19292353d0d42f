"""What the methods share that are conditioned on maps of the image's size (`Embedded.maps`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.kernel_forms import Grid
from cabench.models.sites import Layout

ALL = "maps"


class MapsOptions(MethodOptions):
    """Options of methods that are conditioned on maps."""

    takes_maps: ClassVar[bool] = True
    source: str | list[str] = Field(
        ALL,
        description="maps it is conditioned on: maps (all of the study's), one, or a list",
    )


class MapsMethod(Method):
    """A method that cuts maps into the patches of a grid of tokens."""

    distinct = True
    Options = MapsOptions

    @classmethod
    def grids(cls, layout: Layout) -> Iterable[Grid | None]:
        """The grids of tokens that it needs patches for."""
        return [layout.grid]

    @classmethod
    def refuses(cls, options: MapsOptions, layout: Layout) -> str | None:
        for grid in cls.grids(layout):
            if grid is None:
                return "the backbone does not say its grid of tokens (attribute `grid`)"
            for name in options.streams:
                _, height, width = layout.maps[name]
                if height % grid[0] or width % grid[1] or height // grid[0] != width // grid[1]:
                    text = f"map '{name}' of {height}x{width} pixels cannot be cut into square"
                    return f"{text} patches, one for each of {grid[0]}x{grid[1]} tokens"
        return None


def patch_size(shape: tuple[int, int, int], grid: Grid) -> int:
    """Numbers of a patch of maps (C, H, W) on a grid."""
    channels, height, width = shape
    return channels * (height // grid[0]) * (width // grid[1])


def patches(maps: Tensor, grid: Grid) -> Tensor:
    """Maps (B, C, H, W) -> (B, N, C p p), in the order of the backbones' patch embedding."""
    return F.pixel_unshuffle(maps, maps.shape[2] // grid[0]).flatten(2).transpose(1, 2)
