"""What every data source gives: three disjoint splits of pictures with named streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cabench.errors import CabenchError
from cabench.registry import near

SPLITS = ("generator-train", "judge-train", "report")
UNSEEN = "unseen"  # a further split that a set may have: what is new in every respect


@dataclass(frozen=True)
class Split:
    """Pictures and what is known of each; row i of every stream and text belongs to picture i."""

    images: np.ndarray                                      # (N, C, H, W) uint8, contiguous
    streams: dict[str, np.ndarray]                          # name -> (N,) int64
    texts: dict[str, list] = field(default_factory=dict)    # name -> N strings, or lists of them
    encoded: dict[str, Any] = field(default_factory=dict)   # name -> text.Encoded, once it is made

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
    licence: str                       # of the pictures
    classes: dict[str, list[str]]      # categorical stream -> its class names, by value
    flip: bool                         # may a picture be mirrored without leaving the distribution?
    splits: dict[str, Split]           # one per name in SPLITS, and maybe UNSEEN
    fingerprint: str = ""              # sha256 of all content; computed when not given

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.splits, self.classes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        return self.splits["report"].images.shape[1:]

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise CabenchError(
                f"unknown split '{name}' of data set '{self.name}'{near(name, self.splits)}; "
                f"known: {', '.join(self.splits)}"
            )
        return self.splits[name]


def fingerprint(splits: dict[str, Split], classes: dict[str, list[str]]) -> str:
    """sha256 over class names and, split by split in order, every picture, stream and text."""
    digest = hashlib.sha256(json.dumps(classes, sort_keys=True).encode())
    for name in (*SPLITS, *(other for other in splits if other not in SPLITS)):
        part = splits[name]
        arrays = [("images", part.images), *sorted(part.streams.items())]
        for key, array in arrays:
            digest.update(f"{name}/{key}/{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        digest.update(json.dumps(part.texts, sort_keys=True).encode())
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
