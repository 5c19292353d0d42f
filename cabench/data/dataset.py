"""What every data source gives: three disjoint splits of pictures with named streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cabench.errors import CabenchError, near

SPLITS = ("generator-train", "judge-train", "report")
UNSEEN = "unseen"  # a further split that a set may have: what is new in every respect


@dataclass(frozen=True)
class Latents:
    """A VAE's posteriors of pictures; a latent is (mean + deviation * noise - shift) * scale."""

    moments: Any  # (N, F, 2, C, H, W): as it is and, F = 2, mirrored; mean and deviation
    scale: float
    shift: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        return tuple(self.moments.shape[3:])


@dataclass(frozen=True)
class Split:
    """Pictures and what is known of each; row i of every stream and text belongs to picture i."""

    # fmt: off
    images: np.ndarray                                      # (N, C, H, W) uint8, contiguous
    streams: dict[str, np.ndarray]                          # name -> (N,) int64
    texts: dict[str, list] = field(default_factory=dict)    # name -> N strings, or lists of them
    latents: Latents | None = None                          # what networks train on, if not images
    encoded: dict[str, Any] = field(default_factory=dict)   # name -> text.Encoded, once it is made
    # fmt: on

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: np.ndarray) -> Split:
        """The pictures at `index`, in its order."""
        return Split(
            images=np.ascontiguousarray(self.images[index]),
            streams={name: values[index].astype(np.int64) for name, values in self.streams.items()},
            texts={name: [values[i] for i in index] for name, values in self.texts.items()},
        )


@dataclass(frozen=True)
class Dataset:
    """Three splits with the names of their classes."""

    name: str
    # fmt: off
    licence: str                       # of the pictures
    classes: dict[str, list[str]]      # categorical stream -> its class names, by value
    flip: bool                         # may a picture be mirrored without leaving the distribution?
    splits: dict[str, Split]           # one per name in SPLITS, and maybe UNSEEN
    fingerprint: str = ""              # sha256 of all content; computed when not given
    vae: dict[str, Any] | None = None  # of the latents: path, sha256, scale, shift
    # fmt: on

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.splits, self.classes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        return self.splits["report"].images.shape[1:]

    @property
    def inputs(self) -> tuple[int, int, int]:
        """(C, H, W) of what a network sees: latents where there are some, else pictures."""
        latents = self.splits["report"].latents
        return tuple(self.shape) if latents is None else latents.shape

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise CabenchError(
                f"unknown split '{name}' of data set '{self.name}'{near(name, self.splits)}; "
                f"known: {', '.join(self.splits)}"
            )
        return self.splits[name]


class Digest:
    """The sha256 of a data set's content, told in order, so that pictures can come one by one."""

    def __init__(self, classes: dict[str, list[str]]):
        self._sha256 = hashlib.sha256(json.dumps(classes, sort_keys=True).encode())
        self.update, self.hexdigest = self._sha256.update, self._sha256.hexdigest

    def array(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """The head of an array whose bytes follow."""
        self.update(f"{name}/{dtype.str}{tuple(shape)}".encode())

    def rest(self, split: str, streams: dict[str, np.ndarray], texts: dict[str, list]) -> None:
        """What follows a split's pictures."""
        for key, array in sorted(streams.items()):
            self.array(f"{split}/{key}", array.dtype, array.shape)
            self.update(np.ascontiguousarray(array))
        self.update(json.dumps(texts, sort_keys=True).encode())


def fingerprint(splits: dict[str, Split], classes: dict[str, list[str]]) -> str:
    """sha256 over class names and, split by split in order, every picture, stream and text."""
    digest = Digest(classes)
    for name in (*SPLITS, *(other for other in splits if other not in SPLITS)):
        part = splits[name]
        digest.array(f"{name}/images", part.images.dtype, part.images.shape)
        for start in range(0, len(part), 4096):
            digest.update(np.ascontiguousarray(part.images[start : start + 4096]))
        digest.rest(name, part.streams, part.texts)
    return digest.hexdigest()


def stratified(labels: np.ndarray, fractions: Sequence[float]) -> list[np.ndarray]:
    """Cut a fixed permutation of 0..N-1 into parts, each class in the same fractions.

    RandomState, not Generator: NumPy promises that its numbers never change (NEP 19).
    """
    order = np.random.RandomState(0).permutation(len(labels))
    part = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        cuts = np.rint(np.cumsum(fractions)[:-1] * len(members)).astype(int)
        for k, chosen in enumerate(np.split(members, cuts)):
            part[chosen] = k
    return [order[part[order] == k] for k in range(len(fractions))]
