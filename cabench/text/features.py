"""Encoded texts: each distinct text once, without padding; a data set's rows point to them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cabench.runtime.sealed import cached_arrays, cached_file
from cabench.text.encoder import TextEncoder

PART = 8192  # texts encoded before they are written
STREAM = "text"  # of a split's `texts`: the one that is a condition


@dataclass(frozen=True)
class Encoded:
    """The texts of a split: features of the distinct ones, and which of them each picture has.

    features (1 + T, F) float32: all tokens of all texts, one text after the other; row 0 is zero,
    for padding. begins (K,), lengths (K,): where each text is. choices (N, M): the texts of a
    picture, `counts` (N,) of them. tokens: L, to which every text is padded.
    """

    features: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    choices: np.ndarray
    counts: np.ndarray
    tokens: int

    def take(self, rows: Any, pick: Any = None) -> tuple[Any, Any]:
        """Tensors (B, L, F) float32, mask (B, L) bool of the pictures `rows`.

        pick (B,) in [0, 1) says which of a picture's texts; None: the first.
        """
        import torch

        rows = np.asarray(rows)
        place = np.zeros(len(rows), np.int64)
        if pick is not None:
            place = np.minimum(np.asarray(pick) * self.counts[rows], self.counts[rows] - 1)
        text = self.choices[rows, place.astype(np.int64)]
        where = np.arange(self.tokens)[None]
        mask = where < self.lengths[text][:, None]
        index = np.where(mask, self.begins[text][:, None] + where, 0)
        return torch.from_numpy(self.features[index]), torch.from_numpy(mask)


def variants(values: Iterable[str | Sequence[str]]) -> list[list[str]]:
    """The texts of each picture: one, or several captions."""
    return [[value] if isinstance(value, str) else list(value) for value in values]


def first(values: Iterable[str | Sequence[str]]) -> list[str]:
    """The one text of each picture that evaluation takes."""
    return [several[0] for several in variants(values)]


def place(made: TextEncoder, texts: Sequence[str], cache: Path) -> Path:
    """Where the features of these texts are kept."""
    asked = json.dumps([made.fingerprint, list(texts)])
    key = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return Path(cache) / "text" / f"{made.name}-{key}.npy"


def encode(made: TextEncoder, texts: Sequence[str], cache: Path) -> dict[str, np.ndarray]:
    """features (1 + T, F), begins, lengths of different texts; kept in <cache>/text/, mapped."""

    path = place(made, texts, cache)

    def lengths() -> dict[str, np.ndarray]:
        return {"lengths": np.array([len(ids) for ids in made.ids(texts)], np.int64)}

    size = cached_arrays(path.with_name(f"{path.stem}-lengths.npz"), lengths)["lengths"]

    def write(temporary: Path) -> None:  # on disk: captions of a large set fill tens of gigabytes
        shape = 1 + int(size.sum()), made.width
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        row = 1  # row 0 is zero, for padding
        for start in range(0, len(texts), PART):
            for found in made.features(texts[start : start + PART]):
                rows[row : row + len(found)] = found
                row += len(found)
        rows.flush()

    cached_file(path, write)
    begins = 1 + np.concatenate([[0], np.cumsum(size)[:-1]]) if len(size) else size
    return {"features": np.load(path, mmap_mode="c"), "begins": begins, "lengths": size}


def distinct_texts(dataset: Any, stream: str = STREAM) -> list[str]:
    """All different texts of a data set, sorted."""
    return sorted(
        {
            text
            for split in dataset.splits.values()
            for several in variants(split.texts[stream])
            for text in several
        }
    )


def encoded(dataset: Any, made: TextEncoder, tokens: int, cache: Path, stream: str = STREAM) -> Any:
    """The data set with `encoded[stream]` in each split."""
    texts = distinct_texts(dataset, stream)
    table = encode(made, texts, cache)
    number = {text: i for i, text in enumerate(texts)}

    def of(split: Any) -> Any:
        several = variants(split.texts[stream])
        counts = np.array([len(s) for s in several], np.int64)
        choices = np.zeros((len(several), counts.max(initial=1)), np.int64)
        for row, found in enumerate(several):
            choices[row, : len(found)] = [number[text] for text in found]
        told = Encoded(**table, choices=choices, counts=counts, tokens=tokens)
        return dataclasses.replace(split, encoded={**split.encoded, stream: told})

    splits = {name: of(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits)


def sentences(
    made: TextEncoder, texts: Sequence[str], cache: Path, among: Sequence[str] = ()
) -> np.ndarray:
    """(N, F) float32 of unit length: the mean over each text's tokens, as MiniLM is meant.

    `among`: texts that hold these; where they are encoded already, nothing is encoded again.
    """
    different = among if among and place(made, among, cache).exists() else sorted(set(texts))
    table, number = encode(made, different, cache), {text: i for i, text in enumerate(different)}
    begins, lengths = table["begins"], table["lengths"]
    means = np.stack(
        [
            table["features"][begins[i] : begins[i] + lengths[i]].mean(0)
            for i in (number[text] for text in texts)
        ]
    )
    return means / np.linalg.norm(means, axis=1, keepdims=True)
