import pytest

from cabench.data import load_dataset
from cabench.metrics import Lite0, SampleScorer
from cabench.metrics.reference import matched


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all tests, so that EfficientNet-Lite0 is exported once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def extractor(cache):
    return Lite0(cache)


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="session")
def scorer(digits, cache):
    return SampleScorer(digits, 256, cache)


@pytest.fixture(scope="session")
def real(digits, scorer):
    """256 images of generator-train and their labels: samples of a perfect generator."""
    split = digits.split("generator-train")
    chosen = matched(split.streams["label"], scorer.labels, "generator-train")
    return split.images[chosen], split.streams["label"][chosen]
