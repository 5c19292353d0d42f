"""`cabench score --images`: folders and .npz files from elsewhere, on the functions of trials."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli import cabench
from PIL import Image

from cabench.commands.score_images import Request, score_images
from cabench.data import load_dataset
from cabench.data.image_files import folder_labels
from cabench.errors import CabenchError
from cabench.metrics import SampleScorer

NAMES = "kid,condition_accuracy"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def real(cache):
    """The scorer of 150 digits; images of generator-train with its labels, in its order."""
    dataset = load_dataset("digits")
    scorer = SampleScorer(dataset, 150, cache, metrics=NAMES.split(","))
    split = dataset.split("generator-train")
    rows = [[*np.flatnonzero(split.streams["label"] == k)] for k in range(10)]
    chosen = [rows[label].pop(0) for label in scorer.labels]
    return scorer, split.images[chosen]


def save_folder(top: Path, images, labels, names=str, mode=None) -> Path:
    """Images (n, 1, H, W) as top/CLASS/part/ROW.png."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = top / names(label) / "part" / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).convert(mode or "L").save(path)
    return top


def scores(images: Path, cache: Path, **more):
    given = {"data": "digits", "options": (), "metrics": None, "scale": "smoke", "fit": None}
    given |= {"n": None, "reference": None, "plugins": (), "cache": cache}
    scored = score_images(Request(images=images, **given | more))
    return {score.name: (score.value, score.floor) for score in scored.scores}, scored


def test_files_get_the_scorers_own_numbers(real, cache, tmp_path):
    """A folder by class or index, and .npz files in any order: the same floats as in memory."""
    scorer, images = real
    expected, floor = scorer.score(images, scorer.labels), scorer.floor()
    folder = save_folder(tmp_path / "rgb", images, scorer.labels, "{:03}".format, "RGB")
    (folder / "notes.txt").write_text("")
    np.savez(tmp_path / "a.npz", images.transpose(0, 2, 3, 1), scorer.labels)
    for path in (folder, tmp_path / "a.npz"):
        values, scored = scores(path, cache, metrics=NAMES)
        assert values == {name: (expected[name], floor[name]) for name in expected}
        assert "with the same labels, which have the shares" in scored.lines[1]
    assert (
        "ignored 1 file: 1 not an image type (.txt)"
        in scores(folder, cache, metrics="kid")[1].lines[0]
    )
    # real images of a third split score like those of the floor
    assert abs(values["kid"][0] - values["kid"][1]) < 0.4
    assert abs(values["condition_accuracy"][0] - values["condition_accuracy"][1]) < 0.1


def test_labels_of_other_shares_choose_the_real_images(real, cache, tmp_path):
    scorer, images = real
    few = np.flatnonzero((scorer.labels < 3) | (np.arange(150) < 120))
    folder = save_folder(tmp_path / "few", images[few], scorer.labels[few])
    own = SampleScorer(scorer.dataset, len(few), cache, metrics=["kid"], labels=scorer.labels[few])
    values, scored = scores(folder, cache, metrics="kid")
    assert sorted(own.labels) == sorted(scorer.labels[few])
    assert sorted(own.reference_labels) == sorted(scorer.labels[few])
    assert values["kid"][0] == pytest.approx(own.score(images[few], scorer.labels[few])["kid"])
    assert "which have other shares" in scored.lines[1]
    part = scores(folder, cache, metrics="kid", n=110)[1]
    assert part.lines[0].startswith(f"n = 110 of {len(few)} images")


def test_images_without_labels_lose_the_metrics_that_need_them(real, cache, tmp_path):
    scorer, images = real
    np.savez(tmp_path / "a.npz", arr_0=images.transpose(0, 2, 3, 1))
    values, scored = scores(tmp_path / "a.npz", cache)
    assert {"kid", "precision_lite0", "recall_lite0"} <= set(values)
    assert values["kid"][0] == pytest.approx(scorer.score(images, scorer.labels)["kid"])
    assert "condition_accuracy" not in values and "accuracy_trained" not in values
    (line,) = [line for line in scored.lines if "condition_accuracy" in line]
    assert line.startswith("left out: ") and "accuracy_trained" in line
    assert line.endswith("a.npz has no labels (arr_1)")
    with pytest.raises(CabenchError, match=r"--metrics: condition_accuracy needs labels: .*arr_1"):
        scores(tmp_path / "a.npz", cache, metrics="condition_accuracy")


def test_labels_of_folders():
    classes = ["cat", "dog", "crane", "crane"]
    assert list(folder_labels(["dog/a.png", "cat/b/c.png"], classes)[0]) == [1, 0]
    assert list(folder_labels(["2/a.png", "0003/b.png"], classes)[0]) == [2, 3]
    for names, text in (
        (["dgo/a.png"], "'dgo' is no class of the data set (did you mean 'dog'?)"),
        (["dog/a.png", "1/a.png"], "'1' is no class"),
        (["4/a.png"], "'4' is no index of the 4 classes"),
        (["9" * 30 + "/a.png"], "is no index"),
        (["crane/a.png"], "2 classes are called 'crane'; use their indices"),
        (["dog/a.png", "a.png"], "a.png is in no folder"),
    ):
        labels, why = folder_labels(names, classes)
        assert labels is None and text in why


def test_the_command_prints_a_table_or_json(real, cache, tmp_path, monkeypatch):
    scorer, images = real
    monkeypatch.chdir(tmp_path)
    double = np.kron(images, np.ones((1, 1, 2, 3), np.uint8))
    folder = save_folder(tmp_path / "big", double, scorer.labels)
    words = ("score", "--images", folder, "--data", "digits", "--cache", cache)
    code, out, err = cabench(*words, "--metrics", "kid", "--fit", "stretch")
    assert (code, err) == (0, "") and "KID-lite0 @150 ↓" in out and "efficientnet-lite0" in out
    assert "real vs real" in out and "n = 150 images in" in out
    code, out, err = cabench(*words, "--metrics", "kid", "--fit", "stretch", "--json")
    assert code == 0 and json.loads(out)["scores"]["kid"]["floor"] == scorer.floor()["kid"]
    assert json.loads(out)["protocol"]["n"] == 150
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big"]  # no results


def test_what_cannot_be_scored_is_one_line(real, cache, tmp_path, monkeypatch):
    scorer, images = real
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CABENCH_WEIGHTS", str(tmp_path))
    grey = images[:4].transpose(0, 2, 3, 1)
    Path("empty").mkdir()
    Path("x.txt").write_text("x")
    Path("text.npz").write_text("x")
    save_folder(Path("wide"), np.kron(images[:2], np.ones((1, 1, 1, 2), np.uint8)), [0, 1])
    save_folder(Path("bad"), images[:2], [0, 1])
    Path("bad/0/part/00000.png").write_bytes(b"x")
    colours = np.repeat(grey, 3, 3)
    colours[2, 0, 0, 0] ^= 255
    arrays = {
        "few": (grey, [0, 1, 2, 3]),
        "colours": (colours, [0, 1, 2, 3]),
        "float": (grey.astype(float),),
        "first": (images,),
        "labels": (grey, [0, 1, 2, 10]),
        "short": (grey, [0, 1]),
        "objects": (np.array([{}]),),
    }
    for name, given in arrays.items():
        np.savez(f"{name}.npz", *given)
    np.savez("other.npz", mu=np.zeros(2))
    for words, text in (
        (["nowhere"], "no such folder or file: nowhere"),
        (["empty"], "no images in empty"),
        (["x.txt"], "expected a folder or an .npz file"),
        (["text.npz"], "expected an .npz file (a zip of arrays)"),
        (["other.npz"], "expected the arrays arr_0, got mu"),
        (["objects.npz"], "pickled objects"),
        (["float.npz"], "expected uint8 images (N, H, W, 1 or 3), got float64"),
        (["first.npz"], "expected uint8 images"),
        (["labels.npz"], "expected labels from 0 to 9, got 0 to 10"),
        (["short.npz"], "expected 4 labels"),
        (["wide"], "expected 8x8 pixels (width x height), got 16x8; --fit"),
        (["bad", "--metrics", "memorised"], "cannot be read as an image"),
        (["colours.npz", "--metrics", "memorised"], "image 2: expected grey"),
        (["few.npz", "--metrics", "kid"], "--metrics: kid needs 100 samples"),
        (["few.npz", "--metrics", "heldout_loss"], "measured on the network, not on samples"),
        (["few.npz", "--metrics", "style_accuracy"], "the style that each image"),
        (["few.npz", "--metrics", "kdi"], "did you mean 'kid'"),
        (["few.npz", "--n", "5"], "--n: expected at most 4"),
        (["few.npz", "--features", "f"], "--features: images from elsewhere belong to no run"),
        (["few.npz", "--data", "digitz"], "did you mean 'digits'"),
        (["few.npz", "-o", "size=3"], "options.size"),
        (["few.npz", "--reference", "other.npz"], "expected the arrays mu, sigma, got mu"),
    ):
        data = () if "--data" in words else ("--data", "digits")
        code, out, err = cabench("score", "--images", *words, *data, "--cache", cache)
        assert (code, out) == (2, "") and text in err and err.count("\n") == 1, (words, err)
    for words, text in (
        ([], "expected the name of a study, or --images"),
        (["study", "--images", "x"], "got both"),
        (["study", "--fit", "crop"], "--fit: without --images a run's saved samples are scored"),
        (["--images", "few.npz"], "expected --data"),
    ):
        code, _, err = cabench("score", *words)
        assert code == 2 and text in err and err.count("\n") == 1, (words, err)
    many = np.repeat(images, 20, 0)
    np.savez("many.npz", many.transpose(0, 2, 3, 1), np.repeat(scorer.labels, 20))
    code, _, err = cabench("score", "--images", "many.npz", "--data", "digits", "--cache", cache)
    assert code == 2 and "samples can be scored; score fewer: --n" in err
