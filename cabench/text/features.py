"""Token features of texts: each distinct text is encoded once and stored without padding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from cabench.runtime.sealed import cached_arrays, cached_file
from cabench.text.encoder import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 8192  # texts encoded before their features are written
STREAM = "text"  # the name, in a split's `texts`, of the texts that are a condition


class Table(TypedDict):
    """Features of K distinct texts."""

    # fmt: off
    features: np.ndarray    # (1 + T, F) float32, T tokens in all; row 0 is zero, for padding
    begins: np.ndarray      # (K,) int64: first row of each text
    lengths: np.ndarray     # (K,) int64: tokens of each text
    # fmt: on


@dataclass(frozen=True)
class Encoded:
    """The texts of a split: a table of distinct texts, and each image's texts in it."""

    # fmt: off
    features: np.ndarray    # (1 + T, F) float32, T tokens in all; row 0 is zero, for padding
    begins: np.ndarray      # (K,) int64: first row of each distinct text
    lengths: np.ndarray     # (K,) int64: tokens of each distinct text
    choices: np.ndarray     # (N, M) int64: the texts of each image
    counts: np.ndarray      # (N,) int64: how many texts each image has
    tokens: int             # L: every text is padded to L tokens
    # fmt: on

    def take(
        self, rows: np.ndarray | Tensor, pick: np.ndarray | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features (B, L, F) float32 and mask (B, L) bool, true at tokens, of images `rows` (B,).

        `pick` (B,) in [0, 1) selects one of an image's texts; None takes the first.
        """
        import torch

        rows = np.asarray(rows)
        place = np.zeros(len(rows), np.int64)
        if pick is not None:
            place = np.minimum(np.asarray(pick) * self.counts[rows], self.counts[rows] - 1)
        text = self.choices[rows, place.astype(np.int64)]  # (B,)
        position = np.arange(self.tokens)[None]  # (1, L)
        mask = position < self.lengths[text][:, None]  # (B, L)
        index = np.where(mask, self.begins[text][:, None] + position, 0)  # (B, L)
        return torch.from_numpy(self.features[index]), torch.from_numpy(mask)


def variants(values: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """The texts of each image as a list, whether it has one or several captions."""
    return [[value] if isinstance(value, str) else list(value) for value in values]


def first(values: Iterable[str | Sequence[str]]) -> list[str]:
    """The first text of each image, which evaluation uses."""
    return [texts[0] for texts in variants(values)]


def features_path(encoder: TextEncoder, texts: Sequence[str], cache: Path) -> Path:
    """The cache file for the features of these texts."""
    content = json.dumps([encoder.fingerprint, list(texts)])
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return Path(cache) / "text" / f"{encoder.name}-{key}.npy"


def encode(encoder: TextEncoder, texts: Sequence[str], cache: Path) -> Table:
    """The features of distinct texts, cached in <cache>/text/ and memory-mapped."""
    path = features_path(encoder, texts, cache)

    def count_tokens() -> dict[str, np.ndarray]:
        return {"lengths": np.array([len(ids) for ids in encoder.ids(texts)], np.int64)}

    lengths = cached_arrays(path.with_name(f"{path.stem}-lengths.npz"), count_tokens)["lengths"]

    def write(temporary: Path) -> None:  # to disk: captions of a large set fill tens of gigabytes
        shape = 1 + int(lengths.sum()), encoder.width
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        row = 1  # row 0 is zero, for padding
        for start in range(0, len(texts), CHUNK):
            for features in encoder.features(texts[start : start + CHUNK]):
                rows[row : row + len(features)] = features
                row += len(features)
        rows.flush()

    cached_file(path, write)
    begins = 1 + np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    return {"features": np.load(path, mmap_mode="c"), "begins": begins, "lengths": lengths}


def sentences(
    encoder: TextEncoder, texts: Sequence[str], cache: Path, among: Sequence[str] = ()
) -> np.ndarray:
    """Sentence embeddings (N, F) float32 of unit length: the mean of each text's token features.

    `among` is a superset of `texts`; if its features are cached, they are used.
    """
    cached = among and features_path(encoder, among, cache).exists()
    distinct = among if cached else sorted(set(texts))
    table, number = encode(encoder, distinct, cache), {text: i for i, text in enumerate(distinct)}
    begins, lengths = table["begins"], table["lengths"]
    means = np.stack(
        [
            table["features"][begins[i] : begins[i] + lengths[i]].mean(0)
            for i in (number[text] for text in texts)
        ]
    )  # (N, F)
    return means / np.linalg.norm(means, axis=1, keepdims=True)
