import numpy as np
import pytest
import torch

from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.diffusion.training import Data
from cabench.text import encode, encoded, sentences


class Words:
    """An encoder of words: a feature holds the word's number and its place; it counts its calls."""

    name, fingerprint, width = "words", "f" * 64, 2

    def __init__(self):
        self.calls = 0

    def ids(self, texts):
        return [[len(word) for word in text.split()] for text in texts]

    def features(self, texts):
        self.calls += 1
        return [
            np.array([[n, i + 1] for i, n in enumerate(ids)], np.float32).reshape(-1, 2)
            for ids in self.ids(texts)
        ]


def dataset(texts):
    """The same pictures and texts in all splits."""
    n = len(texts)
    images = np.zeros((n, 1, 8, 8), np.uint8)
    split = Split(images, {"label": np.arange(n)}, {"text": texts})
    return Dataset(
        "made", "", {"label": [str(i) for i in range(n)]}, False, dict.fromkeys(SPLITS, split)
    )


def test_each_row_has_its_own_text_padded_with_zeros(tmp_path):
    made = encoded(dataset(["a bb", "ccc", "a bb", "dddd e f"]), Words(), 4, tmp_path)
    features, mask = made.split("report").encoded["text"].take(np.array([3, 0, 2]))
    assert features.shape == (3, 4, 2) and features.dtype == torch.float32
    assert mask.tolist() == [[True] * 3 + [False], [True] * 2 + [False] * 2] * 1 + [
        [True] * 2 + [False] * 2
    ]
    assert features[0].tolist() == [[4, 1], [1, 2], [1, 3], [0, 0]]
    assert torch.equal(features[1], features[2]) and features[1, 1].tolist() == [2, 2]


def test_distinct_texts_are_encoded_once_and_kept(tmp_path):
    words = Words()
    encoded(dataset(["a bb", "ccc", "a bb"]), words, 2, tmp_path)
    encoded(dataset(["ccc", "a bb"]), words, 3, tmp_path)  # the same texts
    assert words.calls == 1
    table = encode(words, ["a bb", "ccc"], tmp_path)
    assert table["features"].shape == (1 + 3, 2) and words.calls == 1
    encoded(dataset(["ccc", "other"]), words, 3, tmp_path)
    assert words.calls == 2


def test_of_several_captions_training_picks_by_the_seed_and_evaluation_takes_the_first(tmp_path):
    texts = [["a", "bb", "ccc"], ["dddd"]]
    split = encoded(dataset(texts), Words(), 1, tmp_path).split("report")
    data = Data(split, ("label", "text"))
    assert data.several
    rows = torch.tensor([0, 1] * 300)
    first = data.told(rows)["text"][0][:, 0, 0]
    assert first.tolist() == [1, 4] * 300
    pick = torch.rand(600, generator=torch.Generator().manual_seed(0))
    _, streams = data.take(rows, "cpu", torch.Generator(), pick=pick)
    found = streams["text"][0][:, 0, 0]
    assert set(found[1::2].tolist()) == {4}
    counts = [(found[::2] == k).sum().item() for k in (1, 2, 3)]
    assert sum(counts) == 300 and min(counts) > 70
    _, again = data.take(rows, "cpu", torch.Generator(), pick=pick)
    assert torch.equal(found, again["text"][0][:, 0, 0])


def test_a_sentence_is_the_mean_of_its_tokens(tmp_path):
    found = sentences(Words(), ["a bb", "ccc", "a bb"], tmp_path)
    mean = np.array([1.5, 1.5])
    assert found[0] == pytest.approx(mean / np.linalg.norm(mean))
    assert np.array_equal(found[0], found[2]) and found[1] == pytest.approx(
        np.array([3, 1]) / 10**0.5
    )


def test_labels_alone_are_told_as_before():
    split = Split(np.zeros((3, 1, 8, 8), np.uint8), {"label": np.array([2, 0, 1])})
    told = Data(split, ("label",)).told(torch.tensor([2, 0]))
    assert list(told) == ["label"] and told["label"].tolist() == [1, 2]
