"""Condition streams: a stream is a tensor (B, ...), or a tuple of them (text: features, mask)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cabench.runtime.devices import moved

Values = Tensor | tuple[Tensor, ...]
Streams = Mapping[str, Values]


def each(streams: Streams, function: Callable[[Tensor], Tensor]) -> dict[str, Values]:
    """The streams with `function` applied to every tensor."""
    return {
        name: tuple(map(function, value)) if isinstance(value, tuple) else function(value)
        for name, value in streams.items()
    }


def tensors_of(streams: Streams) -> list[Tensor]:
    """All tensors, in the order in which `each` goes through them."""
    tensors: list[Tensor] = []
    for value in streams.values():
        tensors += value if isinstance(value, tuple) else [value]
    return tensors


def take(
    streams: Streams, index: Tensor | slice, device: str | torch.device = "cpu"
) -> dict[str, Values]:
    """The rows at `index`, moved to `device`."""
    return each(streams, lambda tensor: moved(tensor[index], device))


def distinct(streams: Streams) -> tuple[Tensor, Tensor]:
    """Rows (K,) with one row per distinct condition, and the index (B,) of each row's condition.

    With a stream of texts or vectors every row counts as distinct.
    """
    rows = torch.arange(length(streams))
    values = [value for value in streams.values() if isinstance(value, Tensor)]
    columns = [value.cpu() for value in values if value.dim() == 1]
    if len(columns) < len(streams):
        return rows, rows
    conditions, index = torch.unique(torch.stack(columns, 1), dim=0, return_inverse=True)
    first = torch.full((len(conditions),), len(rows)).scatter_reduce(0, index, rows, "amin")
    return first, index


def length(streams: Streams) -> int:
    """Number of rows."""
    first = next(iter(streams.values()))
    return len(first[0] if isinstance(first, tuple) else first)
