"""Streams and the one embedder that every method shares.

Each stream's embedding is RMS-normalised and the streams of a source are summed, so no method has
an input scale of its own: a zero-initialised generator learns at a speed set by its input's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.models.init import fixed, tag
from cabench.models.streams import Values

VERSION = 1
TEXT_TOKENS = 77  # of a text: CLIP's length
TIMESTEP = "timestep"


def frequencies(count: int) -> Tensor:
    """From 1 down to 1 / 10,000, evenly in the logarithm."""
    return torch.exp(-math.log(10000) * torch.arange(count, dtype=torch.float32) / count)


class Sinusoid(nn.Module):
    """Cosines and sines of t (B,) in [0, 1000) -> (B, width): U-ViT's native embedding of it."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("scale", fixed(frequencies, width // 2), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.scale
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimestepEmbedding(Sinusoid):
    """Sinusoid (256) -> linear -> SiLU -> linear, as in DiT. t (B,) in [0, 1000) -> (B, width)."""

    def __init__(self, width: int, sinusoid: int = 256):
        super().__init__(sinusoid)
        self.expand = tag(nn.Linear(sinusoid, width), weight="normal02", bias="zeros")
        self.project = tag(nn.Linear(width, width), weight="normal02", bias="zeros")

    def forward(self, t: Tensor) -> Tensor:
        return self.project(F.silu(self.expand(super().forward(t))))


TIMESTEPS = {"mlp": TimestepEmbedding, "sinusoid": Sinusoid}


class CategoryEmbedding(nn.Module):
    """A table with one extra (null) row. index (B,) int64, drop (B,) bool -> (B, width)."""

    def __init__(self, classes: int, width: int, init: str = "normal02"):
        super().__init__()
        self.classes = classes
        # empty: `initialise` draws it, and drawing on the meta device costs seconds
        self.table = nn.Embedding(classes + 1, width, _weight=torch.empty(classes + 1, width))
        tag(self.table, weight=init)

    def forward(self, index: Tensor, drop: Tensor | None) -> Tensor:
        return self.table(index if drop is None else torch.where(drop, self.classes, index))


class TextEmbedding(nn.Module):
    """An encoder's features (B, L, features), mask (B, L) -> tokens (B, L, width); drop: nulls.

    The null text is what a zero feature gives: the linear layer's learned bias.
    """

    def __init__(self, features: int, width: int):
        super().__init__()
        self.linear = tag(nn.Linear(features, width), weight="xavier", bias="zeros")

    def forward(self, features: Tensor, drop: Tensor | None) -> Tensor:
        if drop is not None:
            features = torch.where(drop.view(-1, 1, 1), torch.zeros_like(features), features)
        return self.linear(features)


class Embedded(dict):
    """{stream: (B, width)}, and in `sequences` the streams that are tokens: (B, L, width), mask.

    `kept`, where it is not None, belongs to one trajectory of sampling: all rows have one timestep,
    and the other streams stay as they are, so what is made of these alone may be left there.
    A sequence's vector, the mean of its tokens, is made when it is asked for.
    """

    def __init__(
        self,
        vectors: Mapping[str, Tensor],
        kept: dict[Any, Tensor] | None = None,
        norm: Callable[[Tensor], Tensor] = lambda e: e,
    ):
        super().__init__({name: norm(vector) for name, vector in vectors.items()})
        self.sequences: dict[str, tuple[Tensor, Tensor]] = {}
        self.kept, self.norm = kept, norm

    def __missing__(self, name: str) -> Tensor:
        self[name] = self.norm(mean_over(*self.sequences[name]))
        return self[name]


class ConditionEmbedder(nn.Module):
    """t (B,), streams {name: (B,)}, drop (B,) bool -> {stream: (B, width)}.

    A stream of text is (features (B, L, F), mask (B, L) bool); its vector is the mean of its
    tokens. `drop` replaces all streams but the timestep by their null embedding (classifier-free
    guidance).
    """

    def __init__(
        self,
        width: int,
        classes: Mapping[str, int],  # categories of each stream
        normalise: bool = True,  # False: raw embeddings, as published models have them
        timestep: str = "mlp",  # of TIMESTEPS
        text: Mapping[str, int] | None = None,  # width of the encoder's features of each stream
        table: str = "normal02",  # draws the categories' tables
        told: Container[str] | None = None,  # streams that some method is told; None: all
    ):
        super().__init__()
        self.normalise = normalise

        def used(sizes: Mapping[str, int]) -> dict[str, int]:
            return {name: n for name, n in sizes.items() if told is None or name in told}

        self.timestep = TIMESTEPS[timestep](width) if used({TIMESTEP: 1}) else None
        self.categories = nn.ModuleDict(
            {name: CategoryEmbedding(count, width, table) for name, count in used(classes).items()}
        )
        self.texts = nn.ModuleDict(
            {name: TextEmbedding(size, width) for name, size in used(text or {}).items()}
        )

    def forward(
        self,
        t: Tensor,
        streams: Mapping[str, Values],
        drop: Tensor | None = None,
        kept: dict[Any, Tensor] | None = None,
    ) -> Embedded:
        vectors = {} if self.timestep is None else {TIMESTEP: self.timestep(t)}
        for name, embedding in self.categories.items():
            vectors[name] = embedding(streams[name], drop)
        embedded = Embedded(vectors, kept, self._norm)
        for name, embedding in self.texts.items():
            features, mask = streams[name]
            mask = mask if drop is None else mask | drop.unsqueeze(1)  # a null has no length
            embedded.sequences[name] = self._norm(embedding(features, drop)), mask
        return embedded

    def _norm(self, e: Tensor) -> Tensor:
        return F.rms_norm(e, e.shape[-1:]) if self.normalise else e


def mean_over(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the tokens (B, L, D) in mask (B, L) -> (B, D); zero without any.

    As products: fvcore counts these, and not the sums they are.
    """
    kept = mask.unsqueeze(1).to(tokens.dtype)  # (B, 1, L)
    count = torch.bmm(kept, torch.ones_like(kept).transpose(1, 2))
    return (torch.bmm(kept, tokens) / count.clamp(min=1)).squeeze(1)


def gather(embedded: Mapping[str, Tensor], source: Iterable[str]) -> Tensor:
    """The condition a method is told: the sum of its source's streams, (B, width)."""
    return sum(embedded[name] for name in source)


def sequence(embedded: Embedded, source: Iterable[str]) -> tuple[Tensor, Tensor | None]:
    """The same as tokens (B, L, width), one a stream (text: its own); mask (B, L), None: all."""
    tokens, masks = [], []
    for name in source:
        if name in embedded.sequences:
            found, mask = embedded.sequences[name]
        else:
            found, mask = embedded[name].unsqueeze(1), None
        tokens.append(found)
        masks.append(mask)
    if all(mask is None for mask in masks):
        return torch.cat(tokens, 1), None
    whole = [t.new_ones(t.shape[:2], dtype=torch.bool) for t in tokens]
    kept = [w if mask is None else mask for mask, w in zip(masks, whole, strict=True)]
    return torch.cat(tokens, 1), torch.cat(kept, 1)


def embedder_options(kind: str, backbone: Any) -> dict[str, Any]:
    """Of the embedder that all methods share, or of the one published with the backbone."""
    if kind == "shared":
        return {"normalise": True}
    return {"normalise": False} | getattr(backbone, "native_embedder", {})
