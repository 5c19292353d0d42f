import numpy as np
import pytest

from cabench.data import SPLITS, load_dataset
from cabench.data.dataset import stratified
from cabench.data.sources import digits
from cabench.errors import CabenchError, DataMissing


def test_every_digit_is_in_one_split():
    """All 1,797 images of scikit-learn's loader, scaled, each in one split with its label."""
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_digits()
    expected = sorted(
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), label)
        for image, label in zip(source.images, source.target, strict=True)
    )
    dataset = load_dataset("digits")
    pairs = [
        (image.tobytes(), label)
        for name in SPLITS
        for image, label in zip(
            dataset.split(name).images, dataset.split(name).streams["label"], strict=True
        )
    ]
    assert sorted(pairs) == expected and dataset.shape == (1, 8, 8)


def test_splits_hold_their_share_of_every_class():
    dataset = load_dataset("digits")
    counts = np.stack([np.bincount(dataset.split(name).streams["label"]) for name in SPLITS])
    assert np.allclose(counts / counts.sum(0), [[0.6], [0.2], [0.2]], atol=0.005)
    assert dataset.split("report").images.max() == 255


def test_fingerprint_is_the_same_twice():
    assert load_dataset("digits").fingerprint == load_dataset("digits").fingerprint


def test_missing_scikit_learn(monkeypatch):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="scikit-learn"):
        load_dataset("digits")


def test_wrong_names_and_options():
    with pytest.raises(CabenchError, match="did you mean 'digits'"):
        load_dataset("digit")
    with pytest.raises(CabenchError, match=r"data set 'digits': options\.size: "):
        load_dataset("digits", size=8)
    with pytest.raises(CabenchError, match=r"data set 'folder': options\.size: "):
        load_dataset("folder", path=".")


def test_stratified_is_a_partition():
    labels = np.repeat([3, 5], [100, 40])
    parts = stratified(labels, (0.5, 0.25, 0.25))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(140))
    assert [np.sum(labels[part] == 3) for part in parts] == [50, 25, 25]
    assert [np.sum(labels[part] == 5) for part in parts] == [20, 10, 10]
    assert 0.3 < np.mean(labels[parts[0]][:35] == 3) < 1  # mixed, not class after class
