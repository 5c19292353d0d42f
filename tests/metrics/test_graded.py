"""Graded corruptions: what each changes and how strongly, and strengths of equal cost."""

import numpy as np
import pytest

from cabench.metrics.graded import GRADED, GradedRow, strength_that_costs

N, SIDE, CLASSES = 200, 12, 5


@pytest.fixture
def real():
    """A dark frame around bright noise, whose mean encodes the class; and the labels."""
    rng = np.random.RandomState(0)
    labels = np.arange(N) % CLASSES
    images = np.zeros((N, 1, SIDE, SIDE), np.uint8)
    images[:, :, 3:-3, 3:-3] = 40 * labels[:, None, None, None] + rng.randint(20, 60, (N, 1, 6, 6))
    return images, labels


def apply(name, real, strength, seed=1):
    images, labels = real
    before = images.copy()
    changed = GRADED[name].apply(images, labels, strength, np.random.RandomState(seed))
    assert np.array_equal(images, before)  # the input is left alone
    assert changed.shape == images.shape and changed.dtype == np.uint8
    return changed


def touched(real, changed):
    return (changed != real[0]).any(axis=(1, 2, 3))


@pytest.mark.parametrize("name", GRADED)
def test_every_strength_is_stronger_than_the_last(name, real):
    labels = real[1]
    if name == "black level":  # faint noise all over
        real = np.random.RandomState(0).randint(1, 60, real[0].shape).astype(np.uint8), labels
    sizes = []
    for strength in GRADED[name].strengths:
        difference = apply(name, real, strength).astype(float) - real[0]
        sizes.append(np.abs(difference).mean())
    assert sizes == sorted(sizes) and sizes[0] > 0 and len(set(sizes)) == len(sizes)
    assert list(GRADED[name].strengths) == sorted(GRADED[name].strengths)
    assert np.array_equal(labels, np.arange(N) % CLASSES)


def test_background_noise_leaves_the_object_alone(real):
    changed = apply("background noise", real, 25)
    dark = real[0] < 8
    assert np.array_equal(changed[~dark], real[0][~dark]) and (changed[dark] > 0).mean() > 0.4


def test_grain_has_its_standard_deviation(real):
    grey = np.full((50, 1, 20, 20), 128, np.uint8), np.zeros(50, int)
    difference = apply("grain", grey, 8).astype(float) - 128
    assert difference.std() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", ["one-pixel shift", "swapped parts", "wrong class"])
def test_a_share_of_the_images_changes(name, share, real):
    changed = touched(real, apply(name, real, share))
    assert changed.mean() == pytest.approx(share, abs=0.06)


def test_a_shift_is_by_one_pixel(real):
    changed = apply("one-pixel shift", real, 1.0)
    rolled = [np.roll(real[0], s, axis=a) for s in (1, -1) for a in (2, 3)]  # the frame is empty
    same = [(changed == r).all(axis=(1, 2, 3)) for r in rolled]
    assert np.logical_or.reduce(same).all() and all(s.any() for s in same)


def test_swapped_parts_and_wrong_classes_come_from_other_classes(real):
    images, labels = real

    def class_of(image):  # of the whole or half of an image
        return round((image[image > 0].mean() - 40) / 40)

    swapped = apply("swapped parts", real, 1.0)
    assert np.array_equal(swapped[:, :, :6], images[:, :, :6])
    assert all(class_of(swapped[i, :, 6:]) != labels[i] for i in range(N))
    wrong = apply("wrong class", real, 0.4)
    at = np.flatnonzero(touched(real, wrong))
    assert all(class_of(wrong[i]) != labels[i] for i in at)
    assert sorted(map(class_of, wrong)) == sorted(labels)  # no class is missing


def row(strength, change):
    return GradedRow("kid", "KID@9", "grain", "levels", strength, 0.0, change, 1.0, 9, 3, "digits")


def test_the_strength_that_costs_a_change_is_interpolated():
    rows = [row(4, 3.0), row(1, -0.5), row(2, 1.0)]
    assert strength_that_costs(rows, 1.0) == 2
    assert strength_that_costs(rows, 2.0) == pytest.approx(3)
    assert strength_that_costs(rows, 0.25) == pytest.approx(1.5)
    assert strength_that_costs(rows, 3.5) is None
    assert strength_that_costs([row(2, 1.0)], 0.5) == pytest.approx(1)  # from no corruption
