"""The held-out loss of a model with every kind of stream that a split holds."""

import numpy as np
import pytest
from specs import EDGES, method, model_spec

from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.diffusion.process import Process
from cabench.models.model import build_initialised
from cabench.registry import METRICS

HELDOUT = {"images": 8, "bins": 2, "repeats": 1}


def dataset():
    g = np.random.default_rng(0)
    images, maps = g.integers(0, 256, (2, 8, 1, 8, 8)).astype(np.uint8)
    pose = g.normal(size=(8, 2)).astype(np.float32)
    split = Split(images, {"label": np.arange(8)}, vectors={"pose": pose}, maps={"edges": maps})
    return Dataset("mine", "", {"label": list("01234567")}, False, dict.fromkeys(SPLITS, split))


@pytest.mark.parametrize(
    "methods",
    [
        [method("adaln", ["timestep", "label", "pose"])],
        [method("adaln"), method("map_concat", ["edges"])],
    ],
)
def test_numbers_and_maps_reach_the_network(methods):
    spec = model_spec(methods, maps=EDGES).dump()
    spec["embedder"]["vectors"] = {"pose": 2}
    model = build_initialised(type(model_spec(methods)).model_validate(spec), 0)
    process = Process("flow", "linear")
    scores = METRICS.get("heldout_loss").compute(model, process, dataset(), HELDOUT, "cpu")
    assert 0 < scores["heldout_loss"] < 100 and set(scores) >= {"train_loss", "heldout_loss/bin1"}
