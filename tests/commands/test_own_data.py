"""A folder of images on the command line: checked, then a table in a second command."""

import json

import numpy as np
import pytest
from cli import cabench, spawn
from conftest import TINY_SCALE
from invalid import put, refused
from PIL import Image
from specs import ROOT

from cabench.data import load_dataset

OPTIONS = ("-o", "path=1e3", "-o", "size=[8, 12]", "-o", "channels=1")


@pytest.fixture
def own(tiny):
    """400 images of 10x14 in a folder whose name looks like a number."""
    rng = np.random.RandomState(0)
    for k, label in enumerate(("cats", "dogs")):
        (tiny / "1e3" / label).mkdir(parents=True)
        for i in range(200):
            image = np.clip(rng.randint(0, 60, (10, 14)) + 150 * k, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tiny / "1e3" / label / f"{i}.png")
    return tiny


@pytest.mark.slow
def test_two_commands_lead_to_a_table(own):
    code, out, _ = cabench("data", "check", "folder", *OPTIONS)
    assert code == 0 and "no unreadable images" in out
    assert "with -o held_out=0.25, at most 100: all images of 'report'" in out
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", "--seeds", "1", "--executor", "local")
    code, out, err = cabench(*words, "--data", "folder", *OPTIONS)
    assert code == 0 and "can-3" in out, (out, err)
    assert "--data folder: -o held_out=0.25, that share of every class" in err
    (folder,) = (own / "results").glob("tiny.tiny-folder-*")
    manifest = json.loads((folder / "manifest.json").read_text())
    data = load_dataset("folder", path="1e3", size=[8, 12], channels=1, held_out=0.25)
    records = [json.loads(p.read_text()) for p in own.glob("results/records/*[0-9a-f].json")]
    records = [record for record in records if "spec" in record]
    assert {r["spec"]["train"]["data"]["fingerprint"] for r in records} == {data.fingerprint}
    # the scale that was used is beside the manifest and leads to the same trials
    assert manifest["scale_file"] == f"results/{folder.name}/scale.yaml"
    words = ("run", "tiny.yaml", "--scale", manifest["scale_file"], "--seeds", "1", "--dry-run")
    code, out, err = cabench(*words)
    assert code == 0 and "0 of 1" in out and "data folder, 1x8x12" in out, (out, err)
    code, out, err = cabench("score", "tiny", "--metrics", "condition_accuracy")
    assert code == 0, (out, err)


def test_decoded_images_go_into_the_cache_that_is_given(own):
    before = set(own.rglob("*"))
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", "--seeds", "1", "--dry-run")
    places = ("--cache", "other/cache", "--results", "other/results")
    code, out, err = cabench(*words, "--data", "folder", *OPTIONS, *places)
    assert code == 0, (out, err)
    new = set(own.rglob("*")) - before
    assert new and all(path.is_relative_to(own / "other") for path in new)
    assert list((own / "other/cache/data").glob("folder-*/report.npy"))


def test_check_writes_a_scale(own):
    words = ("data", "check", "folder", *OPTIONS, "--scale", "scale.yaml")
    code, out, _ = spawn(*words, "--write-scale", "mine.yaml", cwd=own)
    assert code == 0 and "wrote mine.yaml: cabench run STUDY --scale mine.yaml" in out
    text = (own / "mine.yaml").read_text()
    assert 'path: "1e3"' in text and "held_out: 0.25" in text and "# -o held_out" in text
    (own / "mine.yaml").unlink()
    (own / "1e3/cats/7.png").write_bytes(b"not an image")
    code, out, _ = cabench(*words, "--write-scale", "mine.yaml")
    assert code == 1 and "mine.yaml is not written" in out and not (own / "mine.yaml").exists()


def test_check_names_what_metrics_allow(own):
    (own / "1e3/birds").mkdir()
    for i in range(2):
        Image.new("L", (12, 8)).save(own / "1e3/birds" / f"{i}.png")
    code, out, _ = cabench("data", "check", "folder", *OPTIONS, "-o", "held_out=0.25")
    assert code == 0
    assert "label: report has no image of 1 of 3 classes, which are never sampled: birds (2)" in out
    lines = [line.strip() for line in out.splitlines()]
    (most,) = [line for line in lines if line.startswith("at most 100: ")]
    assert "kid_levels" in most and "fid" not in most
    assert "not measured: needs 224 samples: fid_lite0_112" in lines
    assert "held-out loss (heldout.images): at most 100" in lines


REFUSED = {  # words after `run tiny.yaml --scale scale.yaml` -> the error
    "-o path=x": "--option: expected with --data only",
    "--data foldr": "--data: unknown data set 'foldr' (did you mean 'folder'?)",
    "--data folder -o pth=x": "options.pth: unknown key (did you mean 'path'?)",
    "--data folder -o path=x": "options.size: this key is missing; on the command line: -o size=",
    "--data folder -o path=x -o size=big": "options.size: expected a whole number",
    "--data folder -o path": "--option: expected KEY=VALUE",
    "--data folder -o path=x:y -o size=8": "x:y/<class>/<image>",
    "--data folder -o path=1e3 -o size=6": "scale.yaml:6: backbones.dit.patch: ",
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused(own, words):
    scale = TINY_SCALE.replace("n: 100", "n: 20").replace("images: 40", "images: 20")
    put(own / "scale.yaml", scale.replace("[kid,", "[memorised,"))
    study = (own / "tiny.yaml").read_text().replace("metric: kid", "metric: memorised")
    put(own / "tiny.yaml", study.replace("primary: kid", "primary: memorised"))
    error = refused("run", "tiny.yaml", "--scale", "scale.yaml", *words.split())
    assert REFUSED[words] in error


def test_files_that_cannot_be_listed(own):
    for i in range(2):
        (own / f"1e3/cats/gone{i}.png").symlink_to("nowhere")
    error = refused("run", "tiny.yaml", "--scale", "scale.yaml", "--data", "folder", *OPTIONS)
    assert error.startswith("folder: 1e3/cats/gone0.png: links to a file that does not exist")
    assert error.endswith("(and 1 more: `cabench data check` lists them)")


def test_a_cost_study_takes_no_data(own):
    text = refused("run", ROOT / "studies" / "cost.yaml", "--data", "folder")
    assert text.startswith("--data: a study of kind 'cost' trains nothing")
