"""A data set with the features of its texts."""

import numpy as np
import torch
from words import Words

from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.data.texts import with_text_features
from cabench.diffusion.batches import Data
from cabench.text import encode


def dataset(texts):
    """The same images and texts in all splits."""
    n = len(texts)
    images = np.zeros((n, 1, 8, 8), np.uint8)
    split = Split(images, {"label": np.arange(n)}, {"text": texts})
    return Dataset(
        "made", "", {"label": [str(i) for i in range(n)]}, False, dict.fromkeys(SPLITS, split)
    )


def test_each_row_has_its_own_text_padded_with_zeros(tmp_path):
    conditioned = with_text_features(
        dataset(["a bb", "ccc", "a bb", "dddd e f"]), Words(), 4, tmp_path
    )
    features, mask = conditioned.split("report").encoded["text"].take(np.array([3, 0, 2]))
    assert features.shape == (3, 4, 2) and features.dtype == torch.float32
    assert mask.tolist() == [[True, True, True, False]] + [[True, True, False, False]] * 2
    assert features[0].tolist() == [[4, 1], [1, 2], [1, 3], [0, 0]]
    assert torch.equal(features[1], features[2]) and features[1, 1].tolist() == [2, 2]


def test_distinct_texts_are_encoded_once_and_cached(tmp_path):
    words = Words()
    with_text_features(dataset(["a bb", "ccc", "a bb"]), words, 2, tmp_path)
    with_text_features(dataset(["ccc", "a bb"]), words, 3, tmp_path)  # the same texts
    assert words.calls == 1
    table = encode(words, ["a bb", "ccc"], tmp_path)
    assert table["features"].shape == (1 + 3, 2) and words.calls == 1
    with_text_features(dataset(["ccc", "other"]), words, 3, tmp_path)
    assert words.calls == 2


def test_training_picks_a_caption_by_the_seed_and_evaluation_takes_the_first(tmp_path):
    texts = [["a", "bb", "ccc"], ["dddd"]]
    split = with_text_features(dataset(texts), Words(), 1, tmp_path).split("report")
    data = Data(split, ("label", "text"))
    assert data.several_captions
    rows = torch.tensor([0, 1] * 300)
    first = data.streams_at(rows)["text"][0][:, 0, 0]
    assert first.tolist() == [1, 4] * 300
    pick = torch.rand(600, generator=torch.Generator().manual_seed(0))
    _, streams = data.take(rows, "cpu", torch.Generator(), pick=pick)
    picked = streams["text"][0][:, 0, 0]
    assert set(picked[1::2].tolist()) == {4}
    counts = [(picked[::2] == k).sum().item() for k in (1, 2, 3)]
    assert sum(counts) == 300 and min(counts) > 70
    _, again = data.take(rows, "cpu", torch.Generator(), pick=pick)
    assert torch.equal(picked, again["text"][0][:, 0, 0])


def test_a_split_without_texts_gives_labels_only():
    split = Split(np.zeros((3, 1, 8, 8), np.uint8), {"label": np.array([2, 0, 1])})
    streams = Data(split, ("label",)).streams_at(torch.tensor([2, 0]))
    assert list(streams) == ["label"] and streams["label"].tolist() == [1, 2]
