"""A stream's values: a tensor (B, ...), or a tuple of such (text: features and mask)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


def distinct(streams: Streams) -> tuple[Tensor, Tensor]:
    """Rows (K,) that hold each different condition once, and which of them each row has, (B,).

    Streams with tensors of their own in each row (text) are taken to differ in every row.
    """
    rows = torch.arange(length(streams))
    if any(isinstance(value, tuple) for value in streams.values()):
        return rows, rows
    told = torch.stack([value.cpu() for value in streams.values()], 1)
    different, index = torch.unique(told, dim=0, return_inverse=True)
    first = torch.full((len(different),), len(rows)).scatter_reduce(0, index, rows, "amin")
    return first, index


def names_of(embedder: Mapping[str, Any]) -> tuple[str, ...]:
    """The streams that the `embedder` part of a model spec asks for: categories, then texts."""
    return (*embedder["classes"], *embedder.get("text", {}))


def length(streams: Streams) -> int:
    """Rows of a batch."""
    first = next(iter(streams.values()))
    return len(first[0] if isinstance(first, tuple) else first)
