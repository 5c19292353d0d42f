"""The agreement of images with maps of edges."""

import numpy as np
import pytest

from cabench.data import load_dataset
from cabench.data.maps import edges
from cabench.errors import CabenchError
from cabench.metrics import SampleScorer
from cabench.metrics.map_agreement import agreement


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    dataset = load_dataset("fashion16-edges")
    return SampleScorer(dataset, 300, tmp_path_factory.mktemp("cache"), metrics=["map_agreement"])


def test_real_images_agree_with_their_own_maps_and_less_with_others(scorer):
    metric, split = scorer.metrics["map_agreement"], scorer.dataset.split("report")
    assert metric.floor(scorer) == 1
    images = split.images[scorer.rows]

    def score(images):
        return metric.compute({}, {}, images, scorer.labels, scorer)

    assert score(images) == 1
    same_class, order = np.empty_like(images), np.argsort(scorer.labels, kind="stable")
    same_class[order] = np.roll(images[order], 1, axis=0)
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    assert 0.4 < score(same_class) < 0.7
    assert score(np.roll(images, 1, axis=0)) < score(same_class) and score(noise) < 0.5
    assert score(np.zeros_like(images)) < 0.01


def test_f1_by_hand():
    """A bar that is 2 pixels lower: 2 of its 4 rows of edges are those of the map."""
    image = np.zeros((1, 1, 16, 16), np.uint8)
    image[..., 4:8, :] = 255
    lower = np.roll(image, 2, axis=2)
    rows = [np.flatnonzero(edges(i)[0, 0, :, 0]) for i in (image, lower)]
    common = len(set(rows[0]) & set(rows[1]))
    assert agreement(lower, edges(image)) == pytest.approx(common / len(rows[0]))
    assert agreement(0 * image, 0 * image) == 1 and agreement(0 * image, edges(image)) == 0


def test_large_images_have_a_tolerance():
    """0.0075 of the diagonal: 1 pixel at 96x96."""
    steps = np.where(np.arange(96)[:, None] < [[[48]], [[49]], [[52]]], 0, 255)  # (3, 96, 1)
    image, near, far = np.repeat(steps[:, None], 96, axis=3).astype(np.uint8)
    target = edges(image[None])
    assert agreement(near[None], target) == 1 and agreement(far[None], target) == 0


def test_data_without_edges_is_refused(tmp_path):
    with pytest.raises(CabenchError, match="^map_agreement: data set 'fashion16' has no map 'edg"):
        SampleScorer(load_dataset("fashion16"), 300, tmp_path, metrics=["map_agreement"])
