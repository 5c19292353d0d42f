"""Where the rows of a split lie: on disk or in main memory, or all of them on a device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cabench.data.shards import Shards
from cabench.runtime.devices import moved
from cabench.text.features import Encoded

Rows = Tensor | np.ndarray | Shards  # (N, ...)
COPIED = 4096  # rows that are copied at a time: those on disk may not fit the main memory


def rows_at(rows: Rows, index: Tensor, device: str) -> Tensor:
    """The rows at `index` (B,), on `device`; the index lies where the rows do."""
    if isinstance(rows, Tensor):
        return moved(rows[index], device)
    return moved(torch.from_numpy(rows[index.numpy()]), device)


def resident(rows: Rows, device: str) -> Tensor:
    """All rows on `device`."""
    if isinstance(rows, Tensor):
        return rows.to(device)
    dtype = torch.from_numpy(np.array(rows[:0])).dtype
    copy = torch.empty(tuple(rows.shape), dtype=dtype, device=device)
    for start in range(0, len(rows), COPIED):
        part = np.array(rows[start : start + COPIED])  # a copy: mapped files are read-only
        copy[start : start + COPIED] = torch.from_numpy(part)
    return copy


def size_of(rows: Rows) -> int:
    """Bytes of all rows."""
    return math.prod(rows.shape) * rows.dtype.itemsize


@dataclass(frozen=True)
class ResidentText:
    """A `text.Encoded` whose arrays lie on a device; it takes the same texts without reading them.

    Shapes are those of `Encoded`.
    """

    features: Tensor
    begins: Tensor
    lengths: Tensor
    choices: Tensor
    counts: Tensor
    tokens: int

    @classmethod
    def of(cls, text: Encoded, device: str) -> ResidentText:
        arrays = (resident(rows, device) for rows in arrays_of(text))
        return cls(*arrays, tokens=text.tokens)

    def take(self, rows: Tensor, pick: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (B, L, F) float32 and mask (B, L) bool of images `rows` (B,), as `Encoded`."""
        place = torch.zeros_like(rows)
        if pick is not None:
            counts = self.counts[rows]
            place = torch.minimum(pick.double() * counts, counts - 1.0).long()
        text = self.choices[rows, place]  # (B,)
        position = torch.arange(self.tokens, device=rows.device)[None]  # (1, L)
        mask = position < self.lengths[text][:, None]  # (B, L)
        index = torch.where(mask, self.begins[text][:, None] + position, 0)  # (B, L)
        return self.features[index], mask


def arrays_of(text: Encoded) -> tuple[np.ndarray, ...]:
    """All arrays of the texts of a split."""
    return text.features, text.begins, text.lengths, text.choices, text.counts
