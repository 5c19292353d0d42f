"""Sentence embeddings from token features."""

import numpy as np
import pytest
from words import Words

from cabench.text import sentences


def test_a_sentence_embedding_is_the_mean_of_its_tokens(tmp_path):
    embeddings = sentences(Words(), ["a bb", "ccc", "a bb"], tmp_path)
    mean = np.array([1.5, 1.5])
    assert embeddings[0] == pytest.approx(mean / np.linalg.norm(mean))
    assert np.array_equal(embeddings[0], embeddings[2]) and embeddings[1] == pytest.approx(
        np.array([3, 1]) / 10**0.5
    )
