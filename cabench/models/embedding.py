"""The condition embedder that all methods of a model share.

A zero-initialised map learns at a speed set by the size of its input, so no method has an input
scale of its own. The embedder has three forms: `normalised` (each stream divided by its RMS),
`gain` (the same times one learned number per stream, which starts at the RMS of the published
model's embedding) and `raw` (as in published models).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.errors import CabenchError
from cabench.models.init import constant, parameter, tag
from cabench.models.streams import Values

VERSION = 1  # raise it when the same embedder would give other numbers
TEXT_TOKENS = 77  # tokens of a text, the length that CLIP pads to
TIMESTEP = "timestep"
WAVES = (0.5, 1.0, 2.0, 4.0)  # radians per standard deviation of a number

SPREAD = 0.02  # of DiT's class tables and timestep MLP
SMALLEST = 384  # width of the smallest published DiT
# RMS of the embeddings of DiT-S/2 at the start, which the form `gain` starts from. The timestep's
# depends on t little: tests/models/test_embedding.py
GAINS = {TIMESTEP: 0.05}
GAIN = 0.02  # of every other stream

Form = Literal["normalised", "gain", "raw"]
SHARED: Form = "normalised"  # the form of the profile `uniform`
Cache = dict[Any, Any]  # by module: what stays the same through one sampling trajectory


# ---- one stream ---------------------------------------------------------------------------------


def frequencies(count: int) -> Tensor:
    """Frequencies (count,) from 1 down to 1 / 10,000, evenly spaced in the logarithm."""
    return torch.exp(-math.log(10000) * torch.arange(count, dtype=torch.float32) / count)


class Sinusoid(nn.Module):
    """Cosines and sines of the timestep, U-ViT's native embedding: t (B,) -> (B, width)."""

    scale: Tensor

    def __init__(self, width: int, spread: float = SPREAD):
        super().__init__()
        self.register_buffer("scale", constant(frequencies, width // 2), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t.float()[:, None] * self.scale  # (B, width / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=1)  # (B, width)


class TimestepEmbedding(Sinusoid):
    """DiT's embedding of the timestep: sinusoid, linear, SiLU, linear. t (B,) -> (B, width)."""

    def __init__(self, width: int, spread: float = SPREAD, sinusoid: int = 256):
        super().__init__(sinusoid)
        self.expand = tag(nn.Linear(sinusoid, width), weight="normal02", bias="zeros")
        self.project = tag(nn.Linear(width, width), bias="zeros")
        tag(self.project, weight="normal02", scale=spread / SPREAD)

    def forward(self, t: Tensor) -> Tensor:
        return self.project(F.silu(self.expand(super().forward(t))))


TIMESTEPS = {"mlp": TimestepEmbedding, "sinusoid": Sinusoid}


class CategoryEmbedding(nn.Module):
    """A table of classes and one null row: index (B,) int64, drop (B,) bool -> (B, width)."""

    def __init__(self, classes: int, width: int, init: str = "normal02", scale: float = 1):
        super().__init__()
        self.classes = classes
        # empty, as `initialise` fills it: torch's own draw takes seconds on the meta device
        self.table = nn.Embedding(classes + 1, width, _weight=torch.empty(classes + 1, width))
        tag(self.table, weight=init, scale=scale)

    def forward(self, index: Tensor, drop: Tensor | None) -> Tensor:
        return self.table(index if drop is None else torch.where(drop, self.classes, index))


class TextEmbedding(nn.Module):
    """Text features (B, L, features), drop (B,) bool -> tokens (B, L, width).

    A dropped text has zero features, so the linear layer's bias is the learned null text.
    """

    def __init__(self, features: int, width: int, init: str = "xavier"):
        super().__init__()
        self.linear = tag(nn.Linear(features, width), weight=init, bias="zeros")

    def forward(self, features: Tensor, drop: Tensor | None) -> Tensor:
        if drop is not None:
            features = torch.where(drop.view(-1, 1, 1), torch.zeros_like(features), features)
        return self.linear(features)


class VectorEmbedding(nn.Module):
    """Numbers v (B, numbers), drop (B,) bool -> (B, width); a dropped one is a learned vector.

    Cosines and sines of each number, linear, SiLU, linear: the timestep's form, with the features
    of Tancik et al. (arXiv 2006.10739, section 3). Numbers are standardised, so half the lowest
    frequency's period is two standard deviations to each side of the mean and more.
    """

    scale: Tensor

    def __init__(self, numbers: int, width: int):
        super().__init__()
        self.register_buffer("scale", constant(torch.tensor, WAVES), persistent=False)
        self.expand = tag(nn.Linear(2 * len(WAVES) * numbers, width), weight="lecun", bias="zeros")
        self.project = tag(nn.Linear(width, width), weight="lecun", bias="zeros")
        self.null = parameter(width, init="normal")

    def forward(self, v: Tensor, drop: Tensor | None) -> Tensor:
        angles = (v.unsqueeze(2) * self.scale).flatten(1)  # (B, numbers * waves)
        features = torch.cat([angles.cos(), angles.sin()], dim=1)
        e = self.project(F.silu(self.expand(features)))  # (B, width)
        return e if drop is None else torch.where(drop.unsqueeze(1), self.null, e)


# ---- all streams --------------------------------------------------------------------------------


class Embedded(dict[str, Tensor]):
    """The embedded condition: {stream: vector (B, width)}.

    `sequences` holds the streams that are sequences of tokens, as (tokens (B, L, width), mask
    (B, L)). Their vector is the mean of their tokens, computed on first access.

    `cache`, where it is not None, belongs to one sampling trajectory: all rows share a timestep and
    the other streams do not change from call to call, so a method may store there what depends on
    those alone.

    `maps` holds the streams that are maps (B, C, H, W); they have no vector.
    """

    def __init__(
        self,
        vectors: Mapping[str, Tensor],
        cache: Cache | None = None,
        norm: Callable[[str, Tensor], Tensor] = lambda name, e: e,
    ):
        super().__init__({name: norm(name, vector) for name, vector in vectors.items()})
        self.sequences: dict[str, tuple[Tensor, Tensor]] = {}
        self.maps: dict[str, Tensor] = {}
        self.cache, self.norm = cache, norm

    def __missing__(self, name: str) -> Tensor:
        if name in self.maps:
            raise CabenchError(f"stream '{name}' is a map, which has no vector: see `maps`")
        self[name] = self.norm(name, mean_over(*self.sequences[name]))
        return self[name]


class ConditionEmbedder(nn.Module):
    """Timestep t (B,) and streams: classes (B,) int64, numbers (B, D), texts, or maps.

    A text is (features (B, L, F), mask (B, L)). A map (B, C, H, W) in [-1, 1] stays as it is; its
    null is 0 everywhere, a grey that no black and white map has.

    Returns Embedded. `drop` (B,) bool replaces all streams but the timestep by their null embedding
    (classifier-free guidance).
    """

    def __init__(
        self,
        width: int,  # channels of the embedding
        classes: Mapping[str, int],  # stream -> number of classes
        normalise: bool = True,  # divide each stream's embedding by its RMS
        gains: Mapping[str, float] | None = None,  # stream -> start of its learned gain; None: no
        spread: float = SPREAD,  # of the tables drawn as `normal02` and of the timestep's last map
        timestep: str = "mlp",  # one of TIMESTEPS
        text: Mapping[str, int] | None = None,  # text stream -> width of the encoder's features
        vectors: Mapping[str, int] | None = None,  # stream -> how many numbers it has
        maps: Mapping[str, Sequence[int]] | None = None,  # stream -> (C, H, W) of its maps
        table: str = "normal02",  # initialisation of the class tables
        projection: str = "xavier",  # initialisation of the text's linear layer
        used: Container[str] | None = None,  # streams that some method uses; None: all
    ):
        super().__init__()
        self.normalise = normalise

        def only_used(sizes: Mapping[str, Any]) -> dict[str, Any]:
            return {name: n for name, n in sizes.items() if used is None or name in used}

        timed = only_used({TIMESTEP: TIMESTEPS[timestep]})
        self.timestep = timed[TIMESTEP](width, spread) if timed else None
        scale = spread / SPREAD if table == "normal02" else 1
        self.categories = nn.ModuleDict(
            {
                name: CategoryEmbedding(n, width, table, scale)
                for name, n in only_used(classes).items()
            }
        )
        self.texts = nn.ModuleDict(
            {
                name: TextEmbedding(size, width, projection)
                for name, size in only_used(text or {}).items()
            }
        )
        self.vectors = nn.ModuleDict(
            {name: VectorEmbedding(n, width) for name, n in only_used(vectors or {}).items()}
        )
        self.maps = tuple(only_used(maps or {}))
        self.gains = nn.ParameterDict(
            {
                name: parameter(1, init="ones", scale=start)
                for name, start in only_used(gains or {}).items()
            }
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that it needs, without the timestep."""
        return (*self.categories, *self.texts, *self.vectors, *self.maps)

    def forward(
        self,
        t: Tensor,
        streams: Mapping[str, Values],
        drop: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Embedded:
        vectors = {} if self.timestep is None else {TIMESTEP: self.timestep(t)}
        for name, embedding in [*self.categories.items(), *self.vectors.items()]:
            vectors[name] = embedding(streams[name], drop)  # (B, width)
        embedded = Embedded(vectors, cache, self._norm)
        for name, embedding in self.texts.items():
            features, mask = streams[name]
            mask = mask if drop is None else mask | drop.unsqueeze(1)  # a null text is not padded
            embedded.sequences[name] = self._norm(name, embedding(features, drop)), mask
        for name in self.maps:
            values = streams[name]
            assert isinstance(values, Tensor)
            embedded.maps[name] = values if drop is None else _dropped(values, drop)
        return embedded

    def _norm(self, name: str, e: Tensor) -> Tensor:
        e = F.rms_norm(e, e.shape[-1:]) if self.normalise else e
        return e * self.gains[name] if name in self.gains else e


def _dropped(maps: Tensor, drop: Tensor) -> Tensor:
    """Maps (B, C, H, W), 0 everywhere where drop (B,) says so."""
    return torch.where(drop.view(-1, 1, 1, 1), torch.zeros_like(maps), maps)


def mean_over(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the unmasked tokens: tokens (B, L, D), mask (B, L) -> (B, D); zero if there are none.

    Written as matrix products, which fvcore counts; it does not count sums.
    """
    weights = mask.unsqueeze(1).to(tokens.dtype)  # (B, 1, L)
    count = torch.bmm(weights, torch.ones_like(weights).transpose(1, 2))  # (B, 1, 1)
    return (torch.bmm(weights, tokens) / count.clamp(min=1)).squeeze(1)


def total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, as additions: MAC counters refuse a sum over an axis."""
    return functools.reduce(torch.add, tensors)


def sequence(embedded: Embedded, source: Iterable[str]) -> tuple[Tensor, Tensor | None]:
    """The condition of a method as tokens (B, L, width), with mask (B, L) or None for all of them.

    A text has its own tokens; any other stream is one token.
    """
    tokens: list[Tensor] = []
    masks: list[Tensor | None] = []
    for name in source:
        if name in embedded.sequences:
            stream, mask = embedded.sequences[name]
        else:
            stream, mask = embedded[name].unsqueeze(1), None
        tokens.append(stream)
        masks.append(mask)
    return joined(tokens, masks)


def joined(tokens: list[Tensor], masks: list[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, L_i, D) and masks (B, L_i) or None as one sequence; no mask if all are None."""
    if all(mask is None for mask in masks):
        return torch.cat(tokens, 1), None
    full = [t.new_ones(t.shape[:2], dtype=torch.bool) for t in tokens]
    masked = [f if mask is None else mask for mask, f in zip(masks, full, strict=True)]
    return torch.cat(tokens, 1), torch.cat(masked, 1)


def embedder_options(
    form: Form | Literal["shared", "native"], width: int, streams: Iterable[str], backbone: Any
) -> dict[str, Any]:
    """Options of an embedder in one of its forms, or of the one published with the backbone.

    Below the width of the smallest published DiT the tables and the timestep's last map are drawn
    wider, by fan-in, so that a map of the embedding starts with outputs of the same size.
    """
    if form == "native":
        return {"normalise": False} | getattr(backbone, "native_embedder", {})
    form = SHARED if form == "shared" else form
    options: dict[str, Any] = {"normalise": form != "raw"}
    if form == "gain":
        options["gains"] = {name: GAINS.get(name, GAIN) for name in (TIMESTEP, *streams)}
    if width < SMALLEST:
        options["spread"] = round(SPREAD * math.sqrt(SMALLEST / width), 6)
    return options
