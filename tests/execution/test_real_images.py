"""Features of real images that another process computes while trials train."""

import time

import pytest

from cabench.execution import real_images
from cabench.execution.trial import run_trial, scorers_of
from cabench.metrics.extractors.lite0 import Lite0
from cabench.records.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "cache")


def files(store):
    return {path.name: path.read_bytes() for path in (store.cache / "judge").glob("*.npz")}


def missing(scorer):
    return [path.name for path in scorer.files() if not path.exists()]


@pytest.mark.slow
def test_a_process_beside_the_trials_computes_what_scores_read(tiny_plan, store, monkeypatch):
    monkeypatch.setattr(real_images, "WORTH", 0)
    trial = tiny_plan.all_trials[0]
    (scorer,) = scorers_of(trial, store)[1]
    assert missing(scorer)
    with real_images.beside(tiny_plan, trial, store):
        end = time.monotonic() + 120
        while missing(scorer) and time.monotonic() < end:
            time.sleep(0.2)
    assert not missing(scorer)
    computed = files(store)

    def refuse(self, images):  # the samples alone may be left to do
        assert len(images) == trial.spec.sample.n, "the extractor ran again on real images"
        return features(self, images)

    features = Lite0.features
    monkeypatch.setattr(Lite0, "features", refuse)
    assert run_trial(trial, store).complete
    assert {name: files(store)[name] for name in computed} == computed


def test_no_process_starts_where_little_is_absent(tiny_plan, store, monkeypatch):
    def refuse(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(real_images.multiprocessing, "get_context", refuse)
    with real_images.beside(tiny_plan, tiny_plan.all_trials[0], store):
        pass
