"""The depthwise convolution that DiT and U-ViT may have inside a feed-forward part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from cabench.models.operations import Conditioning
from cabench.models.sites import SiteDepthwise, on_image_tokens

Place = Literal["after", "before"]


@dataclass(frozen=True)
class Convolution:
    """A 3x3 depthwise convolution of the image's hidden channels, zero at the start.

    After the activation: h + act(conv(h)) with h = act(x). Before it: act(x + conv(x)).
    """

    grid: tuple[int, int] | None  # of the image's tokens; None: no convolution
    place: Place = "after"

    def build(self, channels: int) -> SiteDepthwise | None:
        """The layer, or None."""
        return None if self.grid is None else SiteDepthwise(channels, self.grid)

    def activate(
        self,
        activation: Callable[[Tensor], Tensor],
        layer: SiteDepthwise | None,
        x: Tensor,
        cond: Conditioning,
    ) -> Tensor:
        """x (B, T + N, C), the output of the first linear layer -> (B, T + N, C)."""
        if layer is None or self.grid is None:
            return activation(x)
        n = math.prod(self.grid)

        def add(h: Tensor, cond: Conditioning) -> Tensor:
            y = layer(h, cond)
            return h + (activation(y) if self.place == "after" else y)

        if self.place == "after":
            return on_image_tokens(add, activation(x), n, cond)
        return activation(on_image_tokens(add, x, n, cond))
