"""A stream's values: a tensor (B, ...), or a tuple of such (text: features and mask)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Values = Tensor | tuple[Tensor, ...]
Streams = Mapping[str, Values]


def each(streams: Streams, change: Callable[[Tensor], Tensor]) -> dict[str, Values]:
    """`change` applied to every tensor."""
    return {
        name: tuple(map(change, value)) if isinstance(value, tuple) else change(value)
        for name, value in streams.items()
    }


def take(streams: Streams, index: Tensor | slice, device: str = "cpu") -> dict[str, Values]:
    """The rows at `index`, on `device`."""
    return each(streams, lambda tensor: tensor[index].to(device))


def twice(streams: Streams) -> dict[str, Values]:
    """(B, ...) -> (2B, ...): the batch after itself."""
    return each(streams, lambda tensor: torch.cat([tensor, tensor]))


def length(streams: Streams) -> int:
    """Rows of a batch."""
    first = next(iter(streams.values()))
    return len(first[0] if isinstance(first, tuple) else first)
