"""The regression that reads numbers from images."""

import numpy as np
import pytest

from cabench.metrics import regression
from cabench.runtime.sealed import cached_arrays


def features(rows, numbers, seed=0):
    """Features with a linear trace of numbers (rows, K), and noise."""
    g = np.random.default_rng(seed)
    hidden = np.random.default_rng(7).normal(size=(numbers.shape[1], 12))
    x = numbers @ hidden + 0.1 * g.normal(size=(rows, 12))
    return {"1280": x[:, :8].astype(np.float32), "112": x[:, 8:].astype(np.float32)}


def numbers(rows, seed):
    return np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    train, report = numbers(400, 1), numbers(200, 2)
    return regression.fit(features(400, train, 3), train, features(200, report, 4), report), report


def test_reads_numbers_and_knows_when_they_are_ignored(fitted):
    model, report = fitted
    real = features(200, report, 5)
    assert model.error_on_report < 0.1 and model.error(real, report) < 0.1
    shuffled = model.error(real, np.roll(report, 1, axis=0))
    assert shuffled == pytest.approx(np.sqrt(2), rel=0.1)  # two independent draws
    average = features(200, np.zeros_like(report), 6)
    assert model.error(average, report) == pytest.approx(1, rel=0.1)


def test_storage(fitted, tmp_path):
    model, report = fitted
    stored = regression.Regression.load(cached_arrays(tmp_path / "r.npz", model.arrays))
    real = features(200, report, 5)
    assert np.array_equal(stored.predict(real), model.predict(real))
    assert stored.error_on_report == model.error_on_report
