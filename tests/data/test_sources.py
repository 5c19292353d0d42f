# ruff: noqa: E501  (a table of mistakes)
"""CIFAR-10, ImageNet 64, COCO and ImageNet folders, in tiny ones of their true formats."""

import io
import json
import pickle

import numpy as np
import pytest
from cli import cabench
from formats import COLOURS, make_cifar10, make_coco, make_folders, make_imagenet64
from PIL import Image

from cabench.data import SPLITS, catalogue, load_dataset, open_catalogue
from cabench.data.catalogue import check
from cabench.errors import DataMissing


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def data(*words):
    """Exit code, and everything `cabench data WORDS` prints."""
    code, out, err = cabench("data", *words)
    return code, out + err


def test_cifar10_reads_what_torchvision_reads(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    make_cifar10(tmp_path / "c")
    made = load_dataset("cifar10", path="c")
    assert made.classes["label"] == [f"kind {k}" for k in range(10)] and made.flip
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)  # of the real files
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for train, names in ((True, SPLITS[:2]), (False, SPLITS[2:])):
        theirs = CIFAR10("c", train=train)
        pairs = [
            (im.transpose(2, 0, 1).tobytes(), k)
            for im, k in zip(theirs.data, theirs.targets, strict=True)
        ]
        ours = [
            (im.tobytes(), k)
            for name in names
            for im, k in zip(
                made.split(name).images, made.split(name).streams["label"], strict=True
            )
        ]
        assert sorted(ours) == sorted(pairs)
    assert [len(made.split(name)) for name in SPLITS] == [90, 10, 20]
    assert load_dataset("cifar10", path="c/cifar-10-batches-py").fingerprint == made.fingerprint


def test_cifar10_that_is_missing_damaged_or_not_plain(tmp_path):
    with pytest.raises(DataMissing, match="looked for batches.meta in .*found none; get cifar-10"):
        load_dataset("cifar10", path="c")
    folder = make_cifar10(tmp_path / "c") / "cifar-10-batches-py"
    whole = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(whole[:1000])
    with pytest.raises(DataMissing, match="data_batch_3 doesn't read"):
        load_dataset("cifar10", path="c")
    (folder / "data_batch_3").write_bytes(pickle.dumps(io.StringIO))
    with pytest.raises(DataMissing, match="it asks for (_io|io).StringIO"):
        load_dataset("cifar10", path="c")
    (folder / "data_batch_3").write_bytes(
        pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]})
    )
    with pytest.raises(DataMissing, match=r"found uint8 \(2, 5\) and 2 labels"):
        load_dataset("cifar10", path="c")


def test_imagenet64_is_unpacked_in_splits(tmp_path):
    make_imagenet64(tmp_path / "i")
    (tmp_path / "i" / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02100735 1000 setter\n")
    made = load_dataset("imagenet64", path="i")
    assert made.shape == (3, 64, 64) and len(made.classes["label"]) == 1000
    assert made.classes["label"][0] == "kit fox" and made.classes["label"][1] == "2"
    files = [f"train_data_batch_{i}.npz" for i in range(1, 11)]
    for names, found in ((SPLITS[:2], files), (SPLITS[2:], ["val_data.npz"])):
        theirs = [
            (row.tobytes(), k - 1)
            for f in found
            for row, k in zip(
                np.load(tmp_path / "i" / f)["data"],
                np.load(tmp_path / "i" / f)["labels"],
                strict=True,
            )
        ]
        ours = [
            (im.tobytes(), k)
            for name in names
            for im, k in zip(
                made.split(name).images, made.split(name).streams["label"], strict=True
            )
        ]
        assert sorted(ours) == sorted(theirs)
    assert [len(made.split(name)) for name in SPLITS] == [108, 12, 8]
    assert isinstance(made.split(SPLITS[0]).images, np.memmap)
    assert load_dataset("imagenet64", path="i").fingerprint == made.fingerprint


def test_imagenet64_that_is_missing_or_of_another_size(tmp_path):
    with pytest.raises(DataMissing, match="found 0 of them; get the 64x64 npz"):
        load_dataset("imagenet64", path="i")
    make_imagenet64(tmp_path / "i", batches=2)
    file = tmp_path / "i" / "train_data_batch_2.npz"
    np.savez(file, data=np.zeros((3, 3072), np.uint8), labels=np.ones(3))
    with pytest.raises(DataMissing, match=r"looked for uint8 rows of 12288, found uint8 \(3, 3072"):
        load_dataset("imagenet64", path="i")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataMissing, match="train_data_batch_2.npz: 'labels' doesn't read"):
        load_dataset("imagenet64", path="i")
    assert [p.name for p in (tmp_path / ".cabench/data").iterdir()] == []


def test_coco_has_every_pictures_own_captions(tmp_path):
    make_coco(tmp_path / "coco")
    made = load_dataset("coco", path="coco", size=24)
    assert len(made.split("report")) == 110 and made.classes == {"label": ["picture"]}
    assert len(made.split("generator-train")) + len(made.split("judge-train")) == 160
    assert 40 <= len(made.split("judge-train")) <= 80
    for name in SPLITS:
        part = made.split(name)
        for image, told in zip(part.images, part.texts["text"], strict=True):
            assert len(told) == 2 and told[1] == f"This is {told[0][:-1].lower()}"
            colour = np.array(COLOURS[told[0].split()[1]])
            near = (np.abs(image.transpose(1, 2, 0).astype(int) - colour).sum(2) < 120).mean()
            assert near > 0.03, told


def test_coco_that_is_missing_or_is_something_else(tmp_path):
    with pytest.raises(DataMissing, match="captions_train2014.json.*found none; get train2014.zip"):
        load_dataset("coco", path="coco")
    root = make_coco(tmp_path / "coco", 20, 10)
    with pytest.raises(DataMissing, match="captions_train2017.json"):
        load_dataset("coco", path="coco", year=2017)
    lost = next((root / "val2014").iterdir())
    lost.unlink()
    with pytest.raises(
        DataMissing, match=f"{lost.name} doesn't read as a picture .FileNotFoundError"
    ):
        load_dataset("coco", path="coco", size=8)
    file = root / "annotations" / "captions_val2014.json"
    file.write_text(json.dumps({"images": []}))
    with pytest.raises(DataMissing, match="val2014.json isn't a file of captions .KeyError"):
        load_dataset("coco", path="coco")


def test_imagenets_val_folder_is_the_report_split(tmp_path):
    make_folders(tmp_path / "im", train=20, test=4)
    made = load_dataset("folder", path="im", size=8)
    assert len(made.split("report")) == 24 and len(made.classes["label"]) == 6


@pytest.mark.parametrize("source", ["folder", "coco", "emoji", "digits"])
def test_a_catalogue_has_the_data_sets_fingerprint(tmp_path, source):
    make_folders(tmp_path / "folder", train=20, test=4)
    make_coco(tmp_path / "coco", 30, 10)
    options = {"folder": {"path": "folder", "size": 8}, "coco": {"path": "coco", "size": 8}}
    told = options.get(source, {})
    found = check(open_catalogue(source, **told))
    assert found.fingerprint == load_dataset(source, **told).fingerprint and not found.lines


def test_few_pictures_are_held_at_once(monkeypatch):
    """Pictures are decoded no further ahead than the pool's places."""
    listing = open_catalogue("digits")
    read = []

    def slow(split, row):
        read.append(row)
        return np.zeros(listing.shape, np.uint8)

    monkeypatch.setattr(type(listing), "_try", lambda self, split, row: slow(split, row))
    for row, _ in enumerate(listing.decoded("generator-train", threads=2)):
        assert len(read) <= row + 2 + 2 * catalogue.AHEAD
    assert len(read) == 1078


def test_check_lists_all_damaged_pictures(tmp_path):
    root = make_folders(tmp_path / "im", train=20, test=4)
    asked = ("check", "folder", "-o", "path=im", "-o", "size=8")
    code, told = data(*asked)
    made = load_dataset("folder", path="im", size=8)
    assert code == 0 and f"none damaged; fingerprint {made.fingerprint}" in told
    bad = sorted(root.glob("*/*/*.png"))[::30]
    for path in bad:
        path.write_bytes(b"no picture")
    code, told = data(*asked)
    lines = [line for line in told.splitlines() if "doesn't read as a picture" in line]
    assert code == 1 and len(lines) == len(bad) == 5 and "5 damaged" in told
    assert all(sum(str(p.relative_to(tmp_path)) in line for line in lines) == 1 for p in bad)


def test_encode_on_the_command_line(tmp_path):
    from formats import make_vae

    root, _ = make_folders(tmp_path / "im", train=20, test=4), make_vae(tmp_path / "vae")
    asked = ("encode", "folder", "-o", "path=im", "--vae", "vae", "--out", "lat", "--size", "8")
    code, told = data(*asked)
    assert code == 0 and "144 pictures encoded" in told and "pictures/s" in told
    made = load_dataset("latents", path="lat")
    assert made.fingerprint in told and made.inputs == (4, 4, 4)
    code, told = data(*asked)
    assert code == 0 and "0 pictures encoded" in told and "144 were there already" in told
    next(root.glob("train/*/*.png")).write_bytes(b"no picture")
    code, told = data(*asked[:-4], "--out", "two", "--size", "8")
    assert code == 1 and "doesn't read" in told and "pictures damaged: 1;" in told
    code, told = data(*asked[:-4], "--out", "two", "--size", "8", "--skip-damaged")
    assert code == 0 and "skipped: folder: " in told and "1 skipped" in told


WRONG = {
    "source": ("check", "foldr", "unknown data set 'foldr' (did you mean 'folder'?)"),
    "option": ("check", "folder", "-o", "pth=x", "options.pth: unknown key (did you mean 'path'?)"),
    "no value": ("check", "folder", "-o", "path", "--option: found 'path'; write KEY=VALUE"),
    "kind": ("check", "coco", "-o", "path=x", "-o", "size=big", "options.size: should be a whole"),
    "no vae": (
        "encode",
        "digits",
        "--vae",
        "nowhere/x",
        "--out",
        "o",
        "VAE nowhere/x doesn't load",
    ),
    "no folder": (
        "encode",
        "digits",
        "--vae",
        "./x",
        "--out",
        "o",
        "VAE: no folder ./x, and no OWNER",
    ),
    "size twice": (
        "encode",
        "folder",
        "-o",
        "size=8",
        "--vae",
        "v",
        "--out",
        "o",
        "size is --size",
    ),
    "latents": ("encode", "latents", "--vae", "v", "--out", "o", "name their source"),
    "verb": (
        "chek",
        "no such verb 'chek' (did you mean 'check'?); verbs: list, check, encode; see cabench data",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_get_one_line(case, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    *words, said = WRONG[case]
    code, told = data(*words)
    assert code == 2 and len(told.strip().splitlines()) == 1, told
    assert said in told, told


def test_list_says_what_is_here_and_how_to_get_the_rest(tmp_path):
    code, told = data("list")
    assert code == 0
    blocks = {block.split(":")[0]: block for block in told.replace("\n  ", "|").splitlines()}
    assert "here: 3x32x32; generator-train 3,767" in blocks["emoji"]
    assert "not here: cifar10: looked for" in blocks["cifar10"]
    assert "path (needed)" in blocks["coco"] and "licence" in blocks["digits"]
    make_cifar10(tmp_path / ".cabench/data")
    code, told = data("list")
    assert "here: 3x32x32; generator-train 90" in told


def test_a_grey_picture_fits_a_vae(tmp_path):
    from cabench.data.encode import to_rgb

    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    same = to_rgb(grey, 8)
    assert same.shape == (3, 8, 8) and (same == grey).all()
    assert to_rgb(grey, 16).shape == (3, 16, 16)
    wanted = Image.fromarray(grey[0]).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.abs(to_rgb(grey, 16)[0].astype(int) - np.asarray(wanted)).max() <= 1
