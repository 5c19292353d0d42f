"""Scores against plain float64 formulas, and against torch-fidelity's own command line."""

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from cabench import metrics
from cabench.errors import CabenchError
from cabench.metrics import SampleScorer, fidelity, neighbours
from cabench.metrics.extractors import lite0
from cabench.metrics.extractors.torch_fidelity import VARIABLE, find_weights
from cabench.registry import EXTRACTORS, METRICS


def sets(n=60, m=70, d=5):
    rng = np.random.RandomState(3)
    return rng.randn(n, d).astype(np.float32), (rng.randn(m, d) * 1.2 + 0.3).astype(np.float32)


def distances(a, b):
    gap = a[:, None].astype(np.float64) - b[None].astype(np.float64)
    return np.sqrt((gap**2).sum(2))


def test_precision_and_recall_by_their_definition():
    x, y = sets()

    def inside(points, of):
        """Share of `points` in a ball of `of`: to its third neighbour, itself left out."""
        radius = np.sort(distances(of, of), 1)[:, 3]
        return (distances(points, of) <= radius).any(1).mean()

    precision, recall = fidelity.precision_recall(x, y)
    assert precision == pytest.approx(inside(x, y)) and recall == pytest.approx(inside(y, x))
    assert 0 < precision < 1 and 0 < recall < 1
    with pytest.raises(CabenchError, match="at least 4"):
        fidelity.precision_recall(x[:3], y)


def test_kid_in_blocks_is_the_same_number():
    x, y = sets(70, 70)
    assert fidelity.blocked_kid(x, y, 17) == pytest.approx(fidelity.kid(x, y, 2), rel=1e-9)


def test_inception_score_by_its_definition():
    logits = np.random.RandomState(0).randn(100, 7) * 2
    order = np.random.RandomState(2020).permutation(100)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = []
    for part in np.split(p[order], 10):
        scores.append(np.exp((part * np.log(part / part.mean(0))).sum(1).mean()))
    assert fidelity.inception_score(logits) == pytest.approx(np.mean(scores), rel=1e-9)


def test_class_wise_kid_is_the_mean_of_the_classes_and_sees_wrong_labels(scorer, real):
    images, labels = real
    few = SampleScorer(
        scorer.dataset, scorer.n, scorer._folder.parent, metrics=["kid", "kid_classwise"]
    )
    scores = few.score(images, labels)
    features, truth = (
        few.features(images)["1280"],
        few.reference_features()["1280"],
    )
    by_class = [
        fidelity.kid(features[labels == c], truth[few.reference_labels == c], 2) for c in range(10)
    ]
    assert scores["kid_classwise"] == pytest.approx(np.mean(by_class), rel=1e-9)
    wrong = few.score(images, np.random.RandomState(0).permutation(labels))
    assert wrong["kid"] == scores["kid"]
    assert wrong["kid_classwise"] > scores["kid_classwise"] + 5


def test_nearest_neighbours_by_search_of_all_pairs():
    x, y = sets()
    y[7] = x[3]
    distance, index = neighbours.nearest(x, y)
    every = distances(x, y)
    np.testing.assert_allclose(distance, every.min(1), rtol=1e-5, atol=1e-7)
    assert np.array_equal(index, every.argmin(1))
    assert distance[3] == 0 and index[3] == 7


def test_copies_of_training_images_are_seen(scorer, real):
    """Nearly all training images count as copies, and about one in a hundred new real images."""
    copied = scorer.neighbours(scorer.features(real[0])["1280"])
    new = scorer.dataset.split("judge-train").images[scorer.chosen["judge-train"]]
    fresh = scorer.neighbours(scorer.features(new)["1280"])
    assert copied.memorised > 0.95 and copied.ratio < 0.1
    assert fresh.memorised < 0.06 and fresh.ratio == pytest.approx(1, abs=0.2)
    trained = scorer.dataset.split("generator-train").images
    again = trained[copied.index]
    assert (copied.distance < 1e-3).mean() > 0.95
    same = (again == real[0]).reshape(len(again), -1).all(1)
    assert same[copied.distance < 1e-4].mean() > 0.95


def test_lite0s_classes_are_its_own_classifiers():
    """The logits of the Inception score equal the network's head on its pooled features."""
    from efficientnet_lite_pytorch import EfficientNet

    weight, bias = lite0.class_layer()
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(lite0.weights_path(), weights_only=True))
    x = torch.randn(4, 1280, generator=torch.Generator().manual_seed(0))
    want = net._fc(x).detach().numpy()
    np.testing.assert_allclose(x.numpy() @ weight.T + bias, want, rtol=1e-4, atol=1e-5)


# ---- torch-fidelity's extractors ---------------------------------------------------------------


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """A folder with random weights of the true shape; its file's path."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("weights") / "inception-v3-compat.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    with mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        few = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    few.fc.weight *= 1e8  # so that its classes differ
    torch.save(few.state_dict(), path)
    return path


N, NAME = 40, "inception-v3-compat"


@pytest.mark.full
def test_inception_equals_torch_fidelitys_command_line(
    inception, digits, cache, tmp_path, monkeypatch
):
    """Our scores of saved samples, and the program `fidelity` on the same images as PNGs."""
    monkeypatch.setenv(VARIABLE, str(inception.parent))
    names = ["precision_inception", "recall_inception", "isc_inception"]
    wide = np.kron(digits.split("generator-train").images[: 3 * N], np.ones((1, 1, 2, 2), np.uint8))

    class Few:
        """N images per split: Inception reads ten per second."""

        name, shape, classes, fingerprint = "few", (3, 16, 16), {"label": ["a"]}, "few"

        @staticmethod
        def split(name):
            start = {"generator-train": 0, "judge-train": N, "report": 2 * N}[name]
            images = np.repeat(wide[start : start + N], 3, 1)
            return mock.Mock(images=images, streams={"label": np.zeros(N, np.int64)})

    ours = SampleScorer(Few, N, tmp_path, metrics=names)
    # some close to real images, some far away
    real = Few.split("report").images[ours.chosen["report"]]
    noise = np.random.RandomState(0).randint(-30, 31, real.shape)
    samples = np.clip(real.astype(int) + noise, 0, 255).astype(np.uint8)
    samples[: N // 2] = 255 - samples[: N // 2]
    scores = ours.score(samples, np.zeros(N, np.int64))
    folders = {"samples": samples, "real": real}
    for folder, images in folders.items():
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / folder / f"{i:03}.png")
    program = Path(sys.executable).parent / "fidelity"
    done = subprocess.run(
        [
            program,
            "--isc",
            "--kid",
            "--prc",
            "--fid",
            "--feature-layer-fid",
            "64",
            "--json",
            "--silent",
            "--no-cache",
            "--input1",
            tmp_path / "samples",
            "--input2",
            tmp_path / "real",
            "--batch-size",
            "50",
            "--kid-subsets",
            "1",
            "--kid-subset-size",
            str(N),
            "--feature-extractor",
            NAME,
            "--feature-extractor-weights-path",
            inception,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout[done.stdout.index("{") :])
    assert scores["isc_inception"] == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert theirs["inception_score_mean"] > 1.01
    assert 0 < theirs["precision"] < 1 and 0 < theirs["recall"] < 1
    one = 1.01 / N  # of the images: torch-fidelity computes distances in float32
    assert scores["precision_inception"] == pytest.approx(theirs["precision"], abs=one)
    assert scores["recall_inception"] == pytest.approx(theirs["recall"], abs=one)
    # theirs adds up kernels of about 1 in float32, so that KID is good to some 1e-6
    kid = theirs["kernel_inception_distance_mean"]
    features, reference = ours.features(samples, NAME), ours.reference_features(NAME)
    assert fidelity.kid(features["2048"], reference["2048"], N) == pytest.approx(
        kid, rel=1e-3, abs=3e-6
    )
    early = type("Early", (EXTRACTORS.get(NAME),), {"widths": {"64": 64}})(tmp_path)
    first = [early.features(images)["64"] for images in (samples, real)]
    fid = fidelity.fid(*first, least=2)
    assert fid == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert ours.protocol["judges"] == {NAME: EXTRACTORS.get(NAME).fingerprint_of()}


def test_other_weights_have_another_hash(inception, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(inception.parent))
    one = metrics.extractor_fingerprints(["kid", "kid_inception"])
    assert list(one) == ["inception-v3-compat"]
    other = torch.load(inception, weights_only=True)
    other["fc.bias"] += 1
    torch.save(other, tmp_path / inception.name)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert metrics.extractor_fingerprints(["kid_inception"]) != one
    assert metrics.extractor_fingerprints(["kid", "fid_lite0_112"]) == {}


def test_absent_and_wrong_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(CabenchError) as error:
        find_weights("inception-v3-compat", download=False)
    text = str(error.value)
    assert "\n" not in text and f"{tmp_path}/inception-v3-compat.pth" in text
    assert "https://" in text and f"{VARIABLE}=FOLDER" in text
    torch.save({"a": torch.zeros(1)}, tmp_path / "inception-v3-compat.pth")
    with pytest.raises(CabenchError, match="inception-v3-compat.pth doesn't open"):
        EXTRACTORS.get("inception-v3-compat")(tmp_path).features(np.zeros((1, 3, 8, 8), np.uint8))


def test_only_inceptions_fid_is_called_fid_and_all_carry_n():
    for name in METRICS.names("fid_*"):
        label = METRICS.get(name).label
        assert label.endswith("@{n}")
        assert (label == "FID@{n}") == (name == "fid_inception")
    assert METRICS.get("fid_inception").min_samples == 4096
