"""Streams and the one embedder that every method shares.

Each stream's embedding is RMS-normalised and the streams of a source are summed, so no method has
an input scale of its own: a zero-initialised generator learns at a speed set by its input's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import tag

VERSION = 1
TIMESTEP = "timestep"


class TimestepEmbedding(nn.Module):
    """Sinusoid (256) -> linear -> SiLU -> linear, as in DiT. t (B,) in [0, 1000) -> (B, width)."""

    def __init__(self, width: int, frequencies: int = 256):
        super().__init__()
        half = frequencies // 2
        scale = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("scale", scale, persistent=False)
        self.expand = tag(nn.Linear(frequencies, width), weight="normal02", bias="zeros")
        self.project = tag(nn.Linear(width, width), weight="normal02", bias="zeros")

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.scale
        return self.project(F.silu(self.expand(torch.cat([angles.cos(), angles.sin()], dim=1))))


class CategoryEmbedding(nn.Module):
    """A table with one extra (null) row. index (B,) int64, drop (B,) bool -> (B, width)."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)

    def forward(self, index: Tensor, drop: Tensor | None) -> Tensor:
        return self.table(index if drop is None else torch.where(drop, self.classes, index))


class ConditionEmbedder(nn.Module):
    """t (B,), streams {name: (B,)}, drop (B,) bool -> {stream: (B, width)}.

    `drop` replaces all streams but the timestep by their null embedding (classifier-free guidance).
    """

    def __init__(self, width: int, classes: Mapping[str, int], normalise: bool = True):
        super().__init__()
        self.normalise = normalise  # False: as in DiT, raw embeddings
        self.timestep = TimestepEmbedding(width)
        self.categories = nn.ModuleDict(
            {name: CategoryEmbedding(count, width) for name, count in classes.items()}
        )

    def forward(
        self, t: Tensor, streams: Mapping[str, Tensor], drop: Tensor | None = None
    ) -> dict[str, Tensor]:
        embedded = {TIMESTEP: self.timestep(t)}
        for name, embedding in self.categories.items():
            embedded[name] = embedding(streams[name], drop)
        if self.normalise:
            embedded = {name: F.rms_norm(e, e.shape[-1:]) for name, e in embedded.items()}
        return embedded


def gather(embedded: Mapping[str, Tensor], source: Iterable[str]) -> Tensor:
    """The condition a method is told: the sum of its source's streams, (B, width)."""
    return sum(embedded[name] for name in source)
