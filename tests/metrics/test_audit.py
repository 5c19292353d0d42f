"""Corruptions of real images, and what is expected of each metric."""

import numpy as np

from cabench.metrics import audit
from cabench.metrics.corruptions import CORRUPTIONS, RealSet


def test_every_corruption_changes_what_it_says_and_nothing_else():
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (40, 3, 16, 16)).astype(np.uint8)
    labels = np.repeat(np.arange(10), 4)
    real = RealSet(images, labels, images[::-1].copy())
    results = {name: f(real, np.random.RandomState(1)) for name, f in CORRUPTIONS.items()}
    for name, (changed, new_labels) in results.items():
        assert changed.shape == images.shape and changed.dtype == np.uint8, name
        assert np.array_equal(np.sort(new_labels), labels), name
        assert (name == "shuffled labels") == (not np.array_equal(new_labels, labels)), name
        assert np.array_equal(changed, images) == name.startswith("shuffled"), name
    assert results["blur"][0].std() < 0.8 * images.std()
    lost = (results["missing classes"][0] != images).any((1, 2, 3))
    assert len(np.unique(labels[lost])) == 3 and lost.sum() == 12


def test_expectations_name_known_corruptions():
    for corruptions in audit.EXPECTED.values():
        assert set(corruptions) <= set(CORRUPTIONS)
    assert audit.expected("fid_inception", "blur") == "worse"
    assert audit.expected("my_metric", "blur") == ""
