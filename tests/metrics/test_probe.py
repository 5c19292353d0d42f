import numpy as np
import pytest

from cabench.metrics import probe
from cabench.metrics.probe import Probe


def clusters(n, labels, seed):
    """Features with one direction per label, the second stage mere noise."""
    rng = np.random.RandomState(seed)
    y = np.asarray(labels)[rng.randint(len(labels), size=n)]
    centres = np.random.RandomState(7).randn(10, 40)
    features = {"1280": centres[y] + rng.randn(n, 40), "112": rng.randn(n, 5)}
    return {name: f.astype(np.float32) for name, f in features.items()}, y


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [2, 5], [9, 4, 7]])
def test_recovers_labels_whatever_their_numbers(labels):
    train, test = clusters(300, labels, 0), clusters(200, labels, 1)
    fitted = probe.fit(*train, *test)
    assert fitted.accuracy_on_report > 0.95
    assert fitted.accuracy_on_report == fitted.accuracy(*test)
    assert set(fitted.predict(test[0])) <= set(labels)
    wrong = np.roll(labels, 1)[np.searchsorted(np.sort(labels), test[1])]
    assert fitted.accuracy(test[0], wrong) < 0.9


def test_two_fits_have_the_same_bits_and_survive_storage(tmp_path):
    train, test = clusters(300, [0, 1, 2], 0), clusters(200, [0, 1, 2], 1)
    one, two = probe.fit(*train, *test), probe.fit(*train, *test)
    for name, values in one.arrays().items():
        assert np.array_equal(values, two.arrays()[name])
    np.savez(tmp_path / "probe.npz", **one.arrays())
    with np.load(tmp_path / "probe.npz") as arrays:
        stored = Probe.load(dict(arrays))
    assert np.array_equal(stored.predict(test[0]), one.predict(test[0]))
    assert stored.accuracy_on_report == one.accuracy_on_report


def test_a_feature_almost_dead_in_training_cannot_decide():
    (train, y), (features, labels) = clusters(300, [0, 1, 2], 0), clusters(200, [0, 1, 2], 1)
    train["112"][:, 0] = 1e-4 * (y == 0)  # tells a class, but real images hardly excite it
    fitted = probe.fit(train, y, features, labels)
    features["112"][:, 0] = np.linspace(0, 1, 200)
    assert fitted.accuracy(features, labels) > 0.95


def test_features_that_never_change_are_ignored():
    """As most are where the images of a folder hardly differ."""
    train, test = clusters(300, [0, 1], 0), clusters(200, [0, 1], 1)
    still = [
        ({n: np.hstack([f, np.ones((len(f), 99))]) for n, f in x.items()}, y)
        for x, y in (train, test)
    ]
    assert probe.fit(*still[0], *still[1]).accuracy_on_report > 0.95
