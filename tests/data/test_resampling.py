"""Half of the images, drawn for each seed: counts by class, disjoint splits, the variance."""

import dataclasses

import numpy as np
import pytest

from cabench.data import load_dataset
from cabench.data.dataset import Latents
from cabench.data.resampling import half, resampled
from cabench.errors import CabenchError


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def rows(split):
    return {image.tobytes() for image in split.images}


def test_a_seed_draws_half_of_each_class_to_train_on_and_to_be_compared_with(digits):
    drawn = resampled(digits, 3)
    for name in ("generator-train", "report"):
        whole, part = digits.split(name), drawn.split(name)
        counts = np.bincount(whole.streams["label"], minlength=10)
        assert np.array_equal(np.bincount(part.streams["label"]), -(-counts // 2))
        assert rows(part) < rows(whole)
    assert drawn.split("judge-train") is digits.split("judge-train")
    assert drawn.fingerprint != digits.fingerprint


def test_seeds_draw_other_images_and_a_seed_always_the_same(digits):
    one, again, other = (resampled(digits, seed) for seed in (0, 0, 1))
    assert one.fingerprint == again.fingerprint
    shared = len(rows(one.split("report")) & rows(other.split("report")))
    assert 0.3 < shared / len(one.split("report")) < 0.7


def test_labels_stay_with_their_images(digits):
    whole = digits.split("report")
    label_of = {i.tobytes(): v for i, v in zip(whole.images, whole.streams["label"], strict=True)}
    part = resampled(digits, 5).split("report")
    assert [label_of[i.tobytes()] for i in part.images] == part.streams["label"].tolist()


def test_the_mean_of_a_half_varies_as_much_as_that_of_a_fresh_sample():
    values = np.random.RandomState(0).standard_normal(400)
    classes = np.zeros(400, np.int64)
    rng = np.random.RandomState(1)
    means = [values[half(classes, rng)].mean() for _ in range(4000)]
    assert np.std(means) == pytest.approx(values.std() / np.sqrt(400), rel=0.05)


def test_a_class_of_one_image_keeps_it():
    classes = np.array([0, 0, 0, 0, 7])
    assert 4 in half(classes, np.random.RandomState(0))


def test_latents_are_refused(digits):
    moments = np.zeros((len(digits.split("report")), 1, 2, 4, 2, 2), np.float16)
    report = dataclasses.replace(digits.split("report"), latents=Latents(moments, 1.0, 0.0))
    encoded = dataclasses.replace(digits, splits=digits.splits | {"report": report})
    with pytest.raises(CabenchError, match="latents, which cannot be resampled"):
        resampled(encoded, 0)
