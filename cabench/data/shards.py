"""Rows in several .npy files, memory-mapped and read as one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Shards:
    """An (N, ...) array stored along its first axis in several files.

    Indexing reads the rows it names into a new array. ValueError if the files' rows differ in
    shape or dtype.
    """

    def __init__(self, paths: Sequence[Path]):
        self._parts = [np.load(path, mmap_mode="r") for path in paths]
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *self._parts[0].shape[1:])
        self.dtype, self.ndim = self._parts[0].dtype, self._parts[0].ndim
        if any((p.shape[1:], p.dtype) != (self.shape[1:], self.dtype) for p in self._parts):
            raise ValueError("shards differ in the shape or dtype of their rows")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        if isinstance(index, slice):
            return self._rows(np.arange(*index.indices(len(self))))
        rows = np.asarray(index)
        return self._rows(rows.reshape(-1)).reshape(*rows.shape, *self.shape[1:])

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        rows = np.where(rows < 0, rows + len(self), rows)
        if ((rows < 0) | (rows >= len(self))).any():
            raise IndexError(f"row {rows.max()} of {len(self)}")
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        shard = np.searchsorted(self._ends, rows, side="right")
        for k in np.unique(shard):
            here = shard == k
            values[here] = self._parts[k][rows[here] - self._ends[k] + len(self._parts[k])]
        return values
