import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from cabench import metrics
from cabench.errors import CabenchError
from cabench.metrics import SampleScorer
from cabench.registry import METRICS

NAMES = {"kid", "fid_lite0_112", "condition_accuracy"}


def blurred(images):
    padded = np.pad(images.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    h, w = images.shape[2:]
    shifts = [padded[..., i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return np.rint(np.mean(shifts, axis=0)).astype(np.uint8)


def noisy(images, sigma):
    noise = np.random.RandomState(0).randn(*images.shape) * sigma
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def test_real_images_score_like_the_floor(scorer, real):
    floor, score = scorer.floor(), scorer.score(*real)
    assert set(floor) == set(score) == NAMES
    assert abs(score["kid"] - floor["kid"]) < 0.2  # two draws; the least noise below gives 2
    assert score["fid_lite0_112"] == pytest.approx(floor["fid_lite0_112"], rel=0.3)
    assert score["condition_accuracy"] > 0.75 and floor["condition_accuracy"] > 0.75


def test_worse_images_score_worse(scorer, real):
    images, labels = real
    missing = images.copy()
    missing[labels == 3] = images[labels == 5][: (labels == 3).sum()]
    floor = scorer.floor()
    little, much = scorer.score(noisy(images, 20), labels), scorer.score(noisy(images, 80), labels)
    assert little["kid"] > floor["kid"] + 1
    for worse in (scorer.score(blurred(images), labels), little, scorer.score(missing, labels)):
        assert worse["kid"] > floor["kid"]
        assert worse["fid_lite0_112"] > floor["fid_lite0_112"]
    assert much["kid"] > little["kid"] and much["fid_lite0_112"] > little["fid_lite0_112"]


def test_accuracy_refers_to_the_given_labels(scorer, real):
    images, labels = real
    right, shuffled = scorer.score(images, labels), np.random.RandomState(0).permutation(labels)
    wrong = scorer.score(images, shuffled)
    assert wrong["condition_accuracy"] < 0.2 < right["condition_accuracy"]
    assert wrong["kid"] == right["kid"]
    swapped = images.copy()  # one class drawn as another: a tenth lost
    swapped[labels == 0] = images[labels == 1][:1]
    lost = right["condition_accuracy"] - scorer.score(swapped, labels)["condition_accuracy"]
    assert 0.04 < lost < 0.16


def test_floor_and_reference_are_disjoint_real_sets_with_the_samples_labels(scorer, digits):
    for split in ("report", "judge-train"):
        labels = digits.split(split).streams["label"][scorer.chosen[split]]
        assert np.array_equal(np.sort(labels), np.sort(scorer.labels))
    assert scorer.protocol["reference"]["split"] != scorer.protocol["floor"]["split"]


@pytest.mark.slow
def test_a_second_process_gets_the_same_bits_from_the_cache_alone(scorer, cache):
    scorer.prepare()
    code = f"""
import json
from pathlib import Path
from cabench.data import load_dataset
from cabench.metrics import SampleScorer
from cabench.metrics.extractors import lite0
def refuse(self, images): raise SystemExit("the feature extractor ran again on real images")
lite0.Lite0.features = refuse
print(json.dumps(SampleScorer(load_dataset("digits"), 256, Path({str(cache)!r}), 2).floor()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == scorer.floor()


@pytest.mark.slow
def test_files_that_another_process_writes_come_last(digits, extractor, cache, tmp_path):
    (tmp_path / "judge").mkdir()
    shutil.copytree(cache / "judge", tmp_path / "judge", dirs_exist_ok=True)
    for path in (tmp_path / "judge").glob("features-*"):
        path.unlink()
    scorer = SampleScorer(digits, 256, tmp_path)
    first, *others = scorer.files()
    lock = FileLock(f"{first}.lock")  # as a process that computes the first file holds it
    lock.acquire()
    thread = threading.Thread(target=scorer.prepare)
    thread.start()
    end = time.monotonic() + 60
    while not all(path.exists() for path in others) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(path.exists() for path in others) and not first.exists()
    lock.release()
    thread.join(60)
    assert first.exists() and not thread.is_alive()


def test_order_of_samples_moves_nothing_but_rounding(scorer, real):
    images, labels = real
    order = np.random.RandomState(0).permutation(len(labels))
    one, two = scorer.score(images, labels), scorer.score(images[order], labels[order])
    assert one == pytest.approx(two, rel=1e-6, abs=1e-10)
    assert one == scorer.score(images, labels)


def test_what_cannot_be_scored_is_refused_before_anything_runs(digits, tmp_path):
    with pytest.raises(CabenchError, match="fid_lite0_112: .* got 128"):
        SampleScorer(digits, 128, tmp_path)
    with pytest.raises(CabenchError, match="kid: expected at least 100 samples, got 99"):
        SampleScorer(digits, 99, tmp_path, metrics=["kid"])
    with pytest.raises(CabenchError, match="split 'report'.* samples can be scored"):
        SampleScorer(digits, 5000, tmp_path)
    with pytest.raises(CabenchError, match="did you mean 'kid'"):
        SampleScorer(digits, 256, tmp_path, metrics=["kidd"])
    with pytest.raises(CabenchError, match="streams are label"):
        SampleScorer(digits, 256, tmp_path, stream="style")
    assert not list(tmp_path.iterdir())


def test_samples_of_another_shape_or_with_other_labels_are_refused(scorer, real):
    images, labels = real
    with pytest.raises(ValueError, match="samples are"):
        scorer.score(images[:200], labels[:200])
    with pytest.raises(ValueError, match="labels"):
        scorer.score(images, np.zeros_like(labels))


def test_protocol_is_json_and_names_what_decides(scorer):
    protocol = json.loads(json.dumps(scorer.protocol))
    assert protocol["n"] == protocol["kid"]["kid_subset_size"] == 256
    assert protocol["judge_fingerprint"] == metrics.lite0_fingerprint()
    assert protocol["metrics"] == metrics.versions(NAMES)


def test_a_plugins_metric_is_scored_with_ours(digits, cache, real, monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))

    @METRICS.register("brightness_gap")
    class BrightnessGap:
        version, needs, higher_is_better = 3, "samples", False
        label, min_samples = "brightness gap@{n}", 1

        @staticmethod
        def compute(generated, reference, images, labels, scorer):
            assert generated["1280"].shape == reference["1280"].shape == (256, 1280)
            return abs(images.mean() - scorer.dataset.split("report").images.mean())

    scorer = SampleScorer(digits, 256, cache, metrics=["kid", "brightness_gap"])
    images, labels = real
    assert scorer.score(images // 2, labels)["brightness_gap"] > scorer.floor()["brightness_gap"]
    assert metrics.versions(["brightness_gap"]) == {"brightness_gap": 3}
    assert metrics.describe("brightness_gap", 256)["label"] == "brightness gap@256"


def test_conditions_are_rows_of_the_report_split_in_the_labels_order():
    """Samples are conditioned on whole rows, so that the streams of an image stay together."""
    from cabench.data import load_dataset

    emoji = load_dataset("emoji")
    of_emoji = metrics.SampleScorer(emoji, 240, Path("unused"))
    assert np.array_equal(of_emoji.conditions["label"], of_emoji.labels)
    report = emoji.split("report").streams
    names = ("label", "style", "subgroup")
    rows = {tuple(row) for row in zip(*(report[n] for n in names), strict=True)}
    assert {
        tuple(row) for row in zip(*(of_emoji.conditions[n] for n in names), strict=True)
    } <= rows
