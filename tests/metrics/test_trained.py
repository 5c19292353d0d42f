"""KID on features of networks that are trained on the data set: what moves it, what does not."""

import numpy as np
import pytest

from cabench.data import load_dataset
from cabench.errors import CabenchError
from cabench.metrics import trained
from cabench.metrics.scorer import SampleScorer
from cabench.metrics.trained import KidTrained

METRICS = ("kid_trained", "accuracy_trained")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "SEEDS", (0,))
        patch.setattr(trained, "EPOCHS", 30)  # of 500 images
        cache = tmp_path_factory.mktemp("cache")
        scorer = SampleScorer(load_dataset("digits"), 200, cache, metrics=METRICS)
        yield scorer


@pytest.fixture(scope="module")
def real(scorer):
    """Images of generator-train with the samples' labels."""
    split = scorer.dataset.split("generator-train")
    order = np.argsort(scorer.labels, kind="stable")
    chosen = trained.matched(split.streams["label"], scorer.labels, "split")
    images = np.empty((200, *scorer.dataset.shape), np.uint8)
    images[order] = split.images[chosen]
    return images


def test_real_images_score_about_zero_and_the_floor_is_theirs(scorer, real):
    scores = scorer.score(real, scorer.labels)
    assert scores["accuracy_trained"] == pytest.approx(scorer.floor()["accuracy_trained"], abs=0.06)
    score = scores["kid_trained"]
    assert score == pytest.approx(scorer.floor()["kid_trained"])
    assert abs(score) < 0.1 * KidTrained.between(np.zeros_like(real), real, scorer)


def test_shapes_move_it_and_faint_grain_does_not(scorer, real):
    rng = np.random.RandomState(0)
    noisy = np.clip(real + rng.normal(0, 5, real.shape).round(), 0, 255).astype(np.uint8)
    upside_down = np.ascontiguousarray(real[:, :, ::-1])
    clean, grain, shape = (
        scorer.score(images, scorer.labels)["kid_trained"] for images in (real, noisy, upside_down)
    )
    assert abs(grain - clean) < 0.1 * (shape - clean)


def test_a_network_is_trained_once_and_has_the_same_bits(scorer):
    split = scorer.dataset.split("judge-train")
    files = list((scorer.cache / "judge").glob("trained-*.npz"))
    assert len(files) == 1
    again = trained.fit(np.asarray(split.images), split.streams["label"], 0)
    with np.load(files[0]) as saved:
        assert set(saved) == set(again)
        assert all(np.array_equal(saved[name], again[name]) for name in again)


def test_it_recognises_the_classes(scorer):
    import torch

    model, _ = trained.trained(scorer, 0)
    report = scorer.dataset.split("report")
    with torch.no_grad():
        predicted = model(trained.scaled(report.images)).argmax(1).numpy()
    assert (predicted == report.streams["label"]).mean() > 0.8


def test_accuracy_counts_the_right_labels(scorer, real):
    right = scorer.score(real, scorer.labels)["accuracy_trained"]
    assert right > 0.8
    wrong = real.copy()
    half = scorer.labels < 5
    rows = np.flatnonzero(half)
    wrong[rows] = real[np.resize(np.flatnonzero(~half), len(rows))]
    share = scorer.score(wrong, scorer.labels)["accuracy_trained"]
    assert share == pytest.approx(right * (1 - half.mean()), abs=0.06)


def test_data_without_labels_are_refused():
    class Unlabelled:
        name = "captions"

        @staticmethod
        def split(name):
            return type("Split", (), {"streams": {}})

    with pytest.raises(CabenchError, match="captions"):
        KidTrained.check(Unlabelled)
