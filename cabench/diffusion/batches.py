"""Batches of a split: images or latents with their streams, in an order fixed by the seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cabench.data.dataset import Split
from cabench.diffusion.rows import ResidentText, Rows, arrays_of, resident, rows_at, size_of
from cabench.models.streams import Values, each, tensors_of
from cabench.runtime.devices import moved
from cabench.runtime.images import to_float
from cabench.runtime.rng import generator
from cabench.text.features import Encoded

ALL = slice(None)
IN_MEMORY = 2**31  # bytes of a split's images as floats; a larger split is read batch by batch


class Data:
    """A split as network inputs: images in [-1, 1] or latents, and streams {name: (N,) or (N, D)}.

    On a CPU images are kept in memory as floats; a split too large for that, latents and maps are
    read batch by batch. On a GPU the whole split lies there, as it is stored, if it takes at most
    `room` bytes; else each batch is read, pinned and copied. Maps are (B, C, H, W) in [-1, 1]. A
    text stream is a text.Encoded and gives (features, mask) per batch.
    """

    def __init__(
        self,
        split: Split,
        streams: tuple[str, ...],
        device: str = "cpu",  # that networks train on
        room: int = 0,  # bytes of the device
    ):
        arrays = {**split.streams, **split.vectors}
        others = [name for name in streams if name not in split.maps]
        self.latents = split.latents
        self.images: Rows = split.images
        self.moments: Rows | None = None if self.latents is None else self.latents.moments
        self.maps: dict[str, Rows] = {n: split.maps[n] for n in streams if n in split.maps}
        self.texts: dict[str, Encoded | ResidentText] = {
            name: split.encoded[name] for name in others if name not in arrays
        }
        self.streams = {
            name: torch.from_numpy(arrays[name]) for name in others if name not in self.texts
        }
        texts = [split.encoded[name] for name in self.texts]
        self.several_captions = any(text.counts.max() > 1 for text in texts)
        inputs = self.images if self.moments is None else self.moments
        parts = [inputs, *self.maps.values(), *self.streams.values()]
        parts += [array for text in texts for array in arrays_of(text)]
        fits = sum(map(size_of, parts)) <= room
        self.home = device if fits else "cpu"  # where batches are taken from
        if fits:
            self._move(split)
        elif self._floats_fit() and not device.startswith("cuda"):
            self.images = to_float(torch.from_numpy(split.images))

    def _floats_fit(self) -> bool:
        return self.moments is None and 4 * math.prod(self.images.shape) <= IN_MEMORY

    def _move(self, split: Split) -> None:
        """Copies what batches are taken from to the device."""
        if self.moments is None:
            self.images = resident(self.images, self.home)
        else:
            self.moments = resident(self.moments, self.home)
        self.maps = {name: resident(rows, self.home) for name, rows in self.maps.items()}
        self.streams = {name: resident(rows, self.home) for name, rows in self.streams.items()}
        self.texts = {name: ResidentText.of(split.encoded[name], self.home) for name in self.texts}

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the network input."""
        c, h, w = self.images.shape[1:] if self.latents is None else self.latents.shape
        return c, h, w

    def take(
        self,
        index: Tensor,
        device: str,
        posterior: torch.Generator,
        flip: Tensor | None = None,  # (B,) bool: which to mirror
        pick: Tensor | None = None,  # (B,) in [0, 1): selects one of the captions; None: the first
        part: slice = ALL,  # of the rows, to read and return; draws are those of all rows
    ) -> tuple[Tensor, dict[str, Values]]:
        """x (B, C, H, W) float32 and the streams at `index` (B,).

        `posterior` draws the latents from the VAE's posterior, on its own device.
        """
        drawn = len(index)
        index = moved(index[part], self.home)
        flip, pick = (None if t is None else t[part] for t in (flip, pick))
        if self.moments is not None:
            shape = (drawn, *self.shape)
            noise = torch.randn(shape, generator=posterior, device=posterior.device)[part]
            x = self._latents_at(index, moved(noise, device), flip)
        else:
            x = _mirrored(_as_float(rows_at(self.images, index, device)), flip)
        return x, self.streams_at(index, device, pick, flip)

    def streams_at(
        self,
        index: Tensor,
        device: str = "cpu",
        pick: Tensor | None = None,
        flip: Tensor | None = None,  # (B,) bool: whose maps to mirror
    ) -> dict[str, Values]:
        """The streams of the images at `index`."""
        index, pick = moved(index, self.home), None if pick is None else moved(pick, self.home)
        texts = {name: text.take(index, pick) for name, text in self.texts.items()}
        rows = {name: rows_at(self.streams[name], index, device) for name in self.streams}
        maps = {name: _as_float(rows_at(self.maps[name], index, device)) for name in self.maps}
        return (
            rows
            | each(texts, lambda tensor: moved(tensor, device))
            | {name: _mirrored(values, flip) for name, values in maps.items()}
        )

    def _latents_at(self, index: Tensor, noise: Tensor, flip: Tensor | None) -> Tensor:
        """(mean + deviation * noise - shift) * scale; the VAE encoded mirrored images separately.

        The noise lies where the latents are computed.
        """
        assert self.latents is not None and self.moments is not None
        device = noise.device
        rows = rows_at(self.moments, index, str(device)).float()  # (B, F, 2, C, H, W)
        place = torch.arange(len(rows), device=device)
        mirrored = torch.zeros_like(place) if flip is None else moved(flip, device).long()
        mean, deviation = rows[place, mirrored].unbind(1)
        x = mean + deviation * noise  # (B, C, H, W)
        return (x - self.latents.shift) * self.latents.scale


def _as_float(rows: Tensor) -> Tensor:
    """Images or maps in [-1, 1], from stored ones or from floats."""
    return to_float(rows) if rows.dtype == torch.uint8 else rows


def _mirrored(x: Tensor, flip: Tensor | None) -> Tensor:
    """x (B, C, H, W), mirrored where flip (B,) says so."""
    return x if flip is None else torch.where(moved(flip, x.device).view(-1, 1, 1, 1), x.flip(3), x)


@dataclass(frozen=True)
class Batch:
    """What one training step takes. In a stack of S batches, every tensor has S in front."""

    # fmt: off
    noised: Tensor              # x_t (B, C, H, W)
    target: Tensor              # of the prediction (B, C, H, W)
    times: Tensor               # t (B,)
    drop: Tensor                # (B,) bool: conditions to drop
    streams: dict[str, Values]  # of the condition
    # fmt: on

    def __len__(self) -> int:
        return len(self.times)

    def parts(self, size: int) -> Iterator[Batch]:
        """Batches of at most `size` of the samples, in their order."""
        for start in range(0, len(self), size):
            yield self.like([tensor[start : start + size] for tensor in self.tensors()])

    def tensors(self) -> list[Tensor]:
        """All tensors, in an order that `like` reverses."""
        return [self.noised, self.target, self.times, self.drop, *tensors_of(self.streams)]

    def like(self, tensors: Sequence[Tensor]) -> Batch:
        """A batch of other tensors with the streams of this one."""
        noised, target, times, drop, *streams = tensors
        rest = iter(streams)
        return Batch(noised, target, times, drop, each(self.streams, lambda _: next(rest)))

    @staticmethod
    def stack(batches: Sequence[Batch]) -> Batch:
        """Batches of one shape as one with a further axis in front."""
        columns = zip(*(batch.tensors() for batch in batches), strict=True)
        return batches[0].like([torch.stack(column) for column in columns])


class Order:
    """Which images batch k holds: a new permutation in each epoch, fixed by the seed."""

    def __init__(self, size: int, batch: int, seed: int):
        self.size, self.batch, self.seed = size, batch, seed
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Indices (batch,) of the images of a step."""
        position = torch.arange(step * self.batch, (step + 1) * self.batch)
        epochs = (position // self.size).unique().tolist()
        return torch.cat([self._part(epoch, position) for epoch in epochs])

    def _part(self, epoch: int, position: Tensor) -> Tensor:
        if epoch != self.epoch:
            g = generator(self.seed, "order", epoch)
            self.epoch, self.permutation = epoch, torch.randperm(self.size, generator=g)
        return self.permutation[position[position // self.size == epoch] % self.size]
