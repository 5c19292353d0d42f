"""Data sets: disjoint splits of images with named streams and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cabench.data.shards import Shards
from cabench.errors import CabenchError, listed, near
from cabench.text.features import Encoded

SPLITS = ("generator-train", "judge-train", "report")
UNSEEN = "unseen"  # optional fourth split, of concepts that are in none of the others

Shape = tuple[int, int, int]  # (C, H, W)
Streams = dict[str, np.ndarray]  # stream -> (N,) int64 class indices
Texts = dict[str, list[str] | list[list[str]]]  # name -> one text, or several, per image
Vectors = dict[str, np.ndarray]  # stream -> (N, D) float32, standardised (data/vectors.py)
Maps = dict[str, np.ndarray]  # stream -> (N, C, H, W) uint8, of the images' H and W (data/maps.py)


@dataclass(frozen=True)
class Latents:
    """VAE posteriors of images; a latent is (mean + std * noise - shift) * scale."""

    moments: np.ndarray | Shards  # (N, F, 2, C, h, w): mean, std; F = 2: the mirrored image's, too
    scale: float
    shift: float

    @property
    def shape(self) -> Shape:
        """(C, h, w) of a latent."""
        channels, height, width = self.moments.shape[3:]
        return channels, height, width


@dataclass(frozen=True)
class VaeSource:
    """The VAE that latents were encoded with: where it is, its hash, and how they are scaled."""

    path: str  # a directory in diffusers' format, or a name on the hub
    sha256: str  # of the weights
    scale: float
    shift: float


@dataclass(frozen=True)
class Split:
    """Images and their conditions; row i of every stream and text belongs to image i."""

    # fmt: off
    images: np.ndarray                                          # (N, C, H, W) uint8; may be mapped
    streams: Streams                                            # stream -> (N,) int64
    texts: Texts = field(default_factory=dict)                  # name -> N texts, or N lists
    latents: Latents | None = None                              # if networks train on latents
    encoded: dict[str, Encoded] = field(default_factory=dict)   # text stream -> token features
    vectors: Vectors = field(default_factory=dict)              # stream -> (N, D) float32
    maps: Maps = field(default_factory=dict)                    # stream -> (N, C, H, W) uint8
    # fmt: on

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: np.ndarray) -> Split:
        """The split with the rows `index` (n,) only, in that order; without latents."""
        return Split(
            images=np.ascontiguousarray(self.images[index]),
            streams={name: values[index].astype(np.int64) for name, values in self.streams.items()},
            texts={name: _rows(texts, index) for name, texts in self.texts.items()},
            vectors={name: values[index] for name, values in self.vectors.items()},
            maps={name: np.ascontiguousarray(maps[index]) for name, maps in self.maps.items()},
        )


def _rows(texts: list[str] | list[list[str]], index: np.ndarray) -> list:
    return [texts[i] for i in index]


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits of images, with the names of their classes."""

    # fmt: off
    name: str
    licence: str                                # of the images
    classes: dict[str, list[str]]               # stream -> class names by index
    flip: bool                                  # whether mirrored images are in the distribution
    splits: dict[str, Split]                    # one per name in SPLITS, optionally UNSEEN
    fingerprint: str = ""                       # sha256 of the content; computed if not given
    vae: VaeSource | None = None                # of latents
    # fmt: on

    def __post_init__(self) -> None:
        if any(name not in self.splits for name in SPLITS):
            raise CabenchError(
                f"data set '{self.name}': expected the splits {listed(SPLITS)}, got "
                f"{listed(self.splits)}"
            )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.splits, self.classes))

    @property
    def shape(self) -> Shape:
        """(C, H, W) of every image."""
        channels, height, width = self.splits["report"].images.shape[1:]
        return channels, height, width

    @property
    def vectors(self) -> dict[str, int]:
        """Stream -> numbers of its vectors."""
        return {name: v.shape[1] for name, v in self.splits["report"].vectors.items()}

    @property
    def maps(self) -> dict[str, Shape]:
        """Stream -> (C, H, W) of its maps."""
        sizes = {}
        for name, maps in self.splits["report"].maps.items():
            channels, height, width = maps.shape[1:]
            sizes[name] = channels, height, width
        return sizes

    @property
    def inputs(self) -> Shape:
        """(C, H, W) of a network's input: a latent if the data set has latents, else an image."""
        latents = self.splits["report"].latents
        return self.shape if latents is None else latents.shape

    def split(self, name: str) -> Split:
        """The split called `name`; CabenchError if there is none."""
        if name not in self.splits:
            raise CabenchError(
                f"unknown split '{name}' of data set '{self.name}'{near(name, self.splits)}; "
                f"known: {', '.join(self.splits)}"
            )
        return self.splits[name]


class Digest:
    """sha256 of a data set's content, updated in order, so that images can arrive one by one."""

    def __init__(self, classes: dict[str, list[str]]):
        self._sha256 = hashlib.sha256(json.dumps(classes, sort_keys=True).encode())

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    def header(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """Name, type and shape of an array, before its values."""
        self._sha256.update(f"{name}/{dtype.str}{tuple(shape)}".encode())

    def values(self, array: np.ndarray) -> None:
        """All values of an array, or some of its rows."""
        self._sha256.update(np.ascontiguousarray(array).data)

    def images(self, name: str, images: np.ndarray) -> None:
        """Images or maps (N, C, H, W), which may be on disk."""
        self.header(name, images.dtype, images.shape)
        for start in range(0, len(images), 4096):
            self.values(images[start : start + 4096])

    def conditions(self, split: str, streams: Streams, texts: Texts, vectors: Vectors) -> None:
        """A split's streams, vectors and texts, after its images."""
        for key, array in [*sorted(streams.items()), *sorted(vectors.items())]:
            self.header(f"{split}/{key}", array.dtype, array.shape)
            self.values(array)
        self._sha256.update(json.dumps(texts, sort_keys=True).encode())


def fingerprint(splits: dict[str, Split], classes: dict[str, list[str]]) -> str:
    """sha256 of class names and, split by split, all images, streams, texts and maps."""
    digest = Digest(classes)
    for name in (*SPLITS, *(other for other in splits if other not in SPLITS)):
        split = splits[name]
        digest.images(f"{name}/images", split.images)
        digest.conditions(name, split.streams, split.texts, split.vectors)
        for stream, maps in sorted(split.maps.items()):
            digest.images(f"{name}/{stream}", maps)
    return digest.hexdigest()


def stratified(labels: np.ndarray, fractions: Sequence[float]) -> list[np.ndarray]:
    """Split the rows 0..N-1 at random into parts that hold `fractions` of every class.

    Uses RandomState(0), not Generator: NumPy promises a fixed stream (NEP 19).
    """
    order = np.random.RandomState(0).permutation(len(labels))
    part = np.empty(len(labels), dtype=np.int64)  # (N,) part of each row
    for label in np.unique(labels):
        members = order[labels[order] == label]
        cuts = np.rint(np.cumsum(fractions)[:-1] * len(members)).astype(int)
        for k, chosen in enumerate(np.split(members, cuts)):
            part[chosen] = k
    return [order[part[order] == k] for k in range(len(fractions))]
