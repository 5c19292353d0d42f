"""A scale on other data: what is lowered, what is refused, and the file that is written."""

import json
import logging

import numpy as np
import pytest
from conftest import TINY_STUDY
from invalid import assert_at, error_of, put
from PIL import Image

from cabench.config.study import read_scale, read_study
from cabench.data import load_dataset
from cabench.errors import CabenchError
from cabench.planning.own_data import adapt, as_yaml, for_study, scale_text
from cabench.planning.trials import plan


def paint(path, count):
    path.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(np.full((8, 8), i % 256, np.uint8)).save(path / f"{i:03}.png")


@pytest.fixture
def folders(tiny):
    """400 images of two classes; the same beside a class of two; too few images."""
    for label in ("cats", "dogs"):
        paint(tiny / "images" / label, 200)
        paint(tiny / "rare" / label, 200)
        paint(tiny / "few" / label, 100)
    paint(tiny / "rare" / "birds", 2)
    return tiny


def own(folders, path, **options):
    options = {"path": path, "size": 8, "channels": 1} | options
    study, scale = read_study(folders / "tiny.yaml"), read_scale("scale.yaml")
    file, lines = for_study(study.study, scale, "folder", options)
    return plan(study, file), lines


def test_numbers_are_lowered_to_what_the_data_allows(folders):
    with pytest.raises(CabenchError, match="kid needs 100 samples, got at most 5"):
        own(folders, "few")
    scale = read_scale("scale.yaml").scale
    scale = scale.model_copy(update={"sampling": scale.sampling.model_copy(update={"n": 5000})})
    scale = scale.model_copy(update={"heldout": scale.heldout.model_copy(update={"images": 900})})
    scale = scale.model_copy(update={"metrics": [*scale.metrics, "fid_lite0_112"]})
    options = {"path": "images", "size": 8, "channels": 1}
    adapted = adapt(scale, "folder", options, needed=["kid"])
    choice = adapted.scale.data[0]
    assert (choice.source, choice.options) == ("folder", {**options, "held_out": 0.25})
    assert choice.streams == ["label"]
    assert adapted.scale.sampling.n == adapted.scale.heldout.images == 100
    assert adapted.scale.metrics == scale.metrics[:-1]
    assert adapted.scale.training == scale.training
    assert adapted.scale.backbones == scale.backbones
    assert [line.split(":")[0] for line in adapted.lines] == [
        "-o held_out=0.25, that share of every class in judge-train and report",
        "sampling.n",
        "heldout.images",
        "metrics",
    ]
    assert "fid_lite0_112 (needs 224 samples)" in adapted.lines[-1]


def test_options_that_are_given_stay(folders):
    planned, _ = own(folders, "images", held_out=0.3)
    assert planned.data.options["held_out"] == 0.3 and planned.scale.sampling.n == 100
    with pytest.raises(CabenchError, match="kid needs 100 samples, got at most 40 .all images"):
        own(folders, "images", held_out=0.1)


def test_a_run_on_own_data_has_a_name_of_its_own(folders):
    names = [
        own(folders, "images")[0].scale.scale,
        own(folders, "images", flip=True)[0].scale.scale,
        own(folders, "images", flip=True)[0].scale.scale,
    ]
    assert names[0].startswith("tiny-folder-") and names[1] == names[2] != names[0]


def test_a_resampled_study_needs_twice_the_images(folders):
    put(folders / "tiny.yaml", TINY_STUDY + "resample: true\n")
    with pytest.raises(CabenchError, match="kid needs 100 samples, got at most 50"):
        own(folders, "images")
    for label in ("cats", "dogs"):
        paint(folders / "many" / label, 400)
    planned, _ = own(folders, "many")
    assert planned.scale.sampling.n == 100 and planned.data.resample


def test_absent_classes_are_named_when_planned(folders, caplog):
    with caplog.at_level(logging.WARNING, "cabench"):
        own(folders, "rare", held_out=0.25)
    (line,) = [m for m in caplog.messages if "judge-train" in m]
    assert line.startswith("folder: label: judge-train has no image of 1 of 3 classes")
    assert line.endswith("birds (2)")


def test_the_class_that_limits_is_named_when_planned(folders):
    text = (folders / "scale.yaml").read_text()
    source = "source: folder, options: {path: images, size: 8}"
    put(folders / "scale.yaml", text.replace("source: digits", source))
    error = error_of(lambda: plan(read_study(folders / "tiny.yaml"), read_scale("scale.yaml")))
    assert_at(error, "scale.yaml", 8, "sampling.n")
    assert "class '" in str(error) and "'judge-train'" in str(error) and "got 100" in str(error)


def test_a_study_of_further_labels_and_captions(folders):
    images = sorted((folders / "images").glob("*/*.png"))
    rows = [
        {"file_name": f"{p.parent.name}/{p.name}", "text": f"a {p.parent.name}", "style": i % 2}
        for i, p in enumerate(images)
    ]
    put(folders / "images/metadata.jsonl", "\n".join(map(json.dumps, rows)))
    put(folders / "tiny.yaml", TINY_STUDY + "needs: [label, style]\n")
    planned, _ = own(folders, "images")
    assert planned.data.classes == {"label": 2, "style": 2}
    assert planned.scale.data[0].streams == ["label", "style", "text"]
    assert planned.scale.data[0].text.encoder == "minilm"


def test_a_stream_that_the_data_lacks(folders):
    put(folders / "tiny.yaml", TINY_STUDY + "needs: [label, style]\n")
    error = error_of(lambda: own(folders, "images"))
    assert_at(error, folders / "tiny.yaml", 12, "needs")
    assert "(folder: label)" in str(error)


# ---- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1e3", "on", "007", "a: b #c", "null", "'q\"", "-x", "é ü", "y"])
def test_the_written_scale_reads_the_same(folders, name):
    (folders / "images").rename(folders / name)
    options = {"path": name, "size": 8, "channels": 1, "background": "#ff0000"}
    scale = read_scale("scale.yaml").scale
    put(folders / "mine.yaml", scale_text(scale, "folder", options, "mine"))
    written = read_scale("mine.yaml").scale
    expected = adapt(scale, "folder", options).scale
    assert written == expected.model_copy(update={"scale": "mine"})
    study = put(folders / "tiny.yaml", TINY_STUDY)
    planned = plan(read_study(study), read_scale("mine.yaml"))
    loaded = load_dataset("folder", **(options | {"held_out": 0.25}))
    assert planned.data.fingerprint == loaded.fingerprint


def test_names_of_classes_stay_in_their_comment(folders):
    odd = "a\nscale: b"
    for part, counts in (("train", (500, 100)), ("test", (200, 10))):
        for label, count in zip((odd, "birds"), counts, strict=True):
            paint(folders / "odd" / part / label, count)
    put(folders / "scale.yaml", (folders / "scale.yaml").read_text().replace("n: 100", "n: 5000"))
    options = {"path": "odd", "size": 8, "channels": 1, "held_out": 0.25}
    text = scale_text(read_scale("scale.yaml").scale, "folder", options, "mine")
    assert "class 'a scale: b' is 200 of 210 images in 'report'" in text.splitlines()[0]
    put(folders / "mine.yaml", text)
    assert read_scale("mine.yaml").scale.scale == "mine"


@pytest.mark.parametrize("name", ["quick", "paper", "tiny"])
def test_packaged_scales_are_written_and_read(folders, name):
    scale = read_scale(name if name != "tiny" else "scale.yaml").scale
    put(folders / "copy.yaml", as_yaml(scale.model_copy(update={"scale": "copy"})))
    assert read_scale("copy.yaml").scale == scale.model_copy(update={"scale": "copy"})


def test_patches_are_fitted_in_the_file_and_refused_in_a_run(folders):
    scale = read_scale("scale.yaml").scale
    text = scale_text(scale, "folder", {"path": "images", "size": [6, 9]}, "quick")
    assert "# backbones.dit.patch: 4 -> 3" in text and "\nscale: tiny-own\n" in text
    error = error_of(lambda: own(folders, "images", size=[6, 9]))
    assert_at(error, "scale.yaml", 5, "backbones.dit.patch")
