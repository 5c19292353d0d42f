"""A data set's texts: the distinct ones, and the data set with their features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from cabench.data.dataset import Dataset, Split
from cabench.text.encoder import TextEncoder
from cabench.text.features import STREAM, Encoded, encode, variants


def distinct_texts(dataset: Dataset, stream: str = STREAM) -> list[str]:
    """All distinct texts of a data set, sorted."""
    return sorted(
        {
            text
            for split in dataset.splits.values()
            for texts in variants(split.texts[stream])
            for text in texts
        }
    )


def with_text_features(
    dataset: Dataset, encoder: TextEncoder, tokens: int, cache: Path, stream: str = STREAM
) -> Dataset:
    """The data set with `encoded[stream]` in each split; every text padded to `tokens` tokens."""
    texts = distinct_texts(dataset, stream)
    table = encode(encoder, texts, cache)
    number = {text: i for i, text in enumerate(texts)}

    def encoded(split: Split) -> Split:
        captions = variants(split.texts[stream])
        counts = np.array([len(several) for several in captions], np.int64)
        choices = np.zeros((len(captions), counts.max(initial=1)), np.int64)
        for row, several in enumerate(captions):
            choices[row, : len(several)] = [number[text] for text in several]
        features = Encoded(**table, choices=choices, counts=counts, tokens=tokens)
        return dataclasses.replace(split, encoded={**split.encoded, stream: features})

    splits = {name: encoded(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits)
