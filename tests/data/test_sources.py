"""CIFAR-10, ImageNet 64x64, COCO and ImageNet folders, in small files of the real formats."""

import dataclasses
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
    dataset = load_dataset("cifar10", path="c")
    assert dataset.classes["label"] == [f"kind {k}" for k in range(10)] and dataset.flip
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)  # of the official files
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
                dataset.split(name).images, dataset.split(name).streams["label"], strict=True
            )
        ]
        assert sorted(ours) == sorted(pairs)
    assert [len(dataset.split(name)) for name in SPLITS] == [90, 10, 20]
    assert load_dataset("cifar10", path="c/cifar-10-batches-py").fingerprint == dataset.fingerprint


def test_missing_corrupted_or_unsafe_cifar10_files(tmp_path):
    with pytest.raises(DataMissing, match="no batches.meta in .*; get cifar-10"):
        load_dataset("cifar10", path="c")
    folder = make_cifar10(tmp_path / "c") / "cifar-10-batches-py"
    valid = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(valid[:1000])
    with pytest.raises(DataMissing, match="data_batch_3 cannot be read"):
        load_dataset("cifar10", path="c")
    (folder / "data_batch_3").write_bytes(pickle.dumps(io.StringIO))
    with pytest.raises(DataMissing, match="it refers to (_io|io).StringIO"):
        load_dataset("cifar10", path="c")
    (folder / "data_batch_3").write_bytes(
        pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]})
    )
    with pytest.raises(DataMissing, match=r"got uint8 \(2, 5\) and 2 labels"):
        load_dataset("cifar10", path="c")


def test_imagenet64_is_unpacked_in_splits(tmp_path):
    make_imagenet64(tmp_path / "i")
    (tmp_path / "i" / "map_clsloc.txt").write_text("n02119789 1 kit_fox\nn02100735 1000 setter\n")
    dataset = load_dataset("imagenet64", path="i")
    assert dataset.shape == (3, 64, 64) and len(dataset.classes["label"]) == 1000
    assert dataset.classes["label"][0] == "kit fox" and dataset.classes["label"][1] == "2"
    files = [f"train_data_batch_{i}.npz" for i in range(1, 11)]
    for names, sources in ((SPLITS[:2], files), (SPLITS[2:], ["val_data.npz"])):
        theirs = [
            (row.tobytes(), k - 1)
            for f in sources
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
                dataset.split(name).images, dataset.split(name).streams["label"], strict=True
            )
        ]
        assert sorted(ours) == sorted(theirs)
    assert [len(dataset.split(name)) for name in SPLITS] == [108, 12, 8]
    assert isinstance(dataset.split(SPLITS[0]).images, np.memmap)
    assert load_dataset("imagenet64", path="i").fingerprint == dataset.fingerprint


def test_missing_or_wrong_imagenet64_files(tmp_path):
    with pytest.raises(DataMissing, match="got 0 training files .*; get the 64x64 npz"):
        load_dataset("imagenet64", path="i")
    make_imagenet64(tmp_path / "i", batches=2)
    file = tmp_path / "i" / "train_data_batch_2.npz"
    np.savez(file, data=np.zeros((3, 3072), np.uint8), labels=np.ones(3))
    with pytest.raises(DataMissing, match=r"expected uint8 rows of 12288, got uint8 \(3, 3072"):
        load_dataset("imagenet64", path="i")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataMissing, match="train_data_batch_2.npz: 'labels' cannot be read"):
        load_dataset("imagenet64", path="i")
    assert [p.name for p in (tmp_path / ".cabench/data").iterdir()] == []


@pytest.mark.parametrize("source", ["folder", "imagenet64"])
def test_a_corrupted_cache_is_regenerated(tmp_path, caplog, source):
    make_folders(tmp_path / "folder", train=20, test=4)
    make_imagenet64(tmp_path / "imagenet64")
    options = {"folder": {"path": "folder", "size": 8}, "imagenet64": {"path": "imagenet64"}}
    first = load_dataset(source, **options[source]).fingerprint
    file = next((tmp_path / ".cabench/data").glob("*/report.npy"))
    intact = file.read_bytes()
    for corrupted in (intact[:-100], intact[:-1] + bytes([intact[-1] ^ 1])):
        file.write_bytes(corrupted)
        caplog.clear()
        assert load_dataset(source, **options[source]).fingerprint == first
        assert [f"{file.parent.name} is corrupted; regenerated" in m for m in caplog.messages] == [
            True
        ]
        assert file.read_bytes() == intact


def test_coco_images_have_their_own_captions(tmp_path):
    make_coco(tmp_path / "coco")
    dataset = load_dataset("coco", path="coco", size=24)
    assert len(dataset.split("report")) == 110 and dataset.classes == {"label": ["picture"]}
    assert len(dataset.split("generator-train")) + len(dataset.split("judge-train")) == 160
    assert 40 <= len(dataset.split("judge-train")) <= 80
    for name in SPLITS:
        part = dataset.split(name)
        for image, captions in zip(part.images, part.texts["text"], strict=True):
            assert len(captions) == 2 and captions[1] == f"This is {captions[0][:-1].lower()}"
            colour = np.array(COLOURS[captions[0].split()[1]])
            near = (np.abs(image.transpose(1, 2, 0).astype(int) - colour).sum(2) < 120).mean()
            assert near > 0.03, captions


def test_missing_or_wrong_coco_files(tmp_path):
    with pytest.raises(
        DataMissing, match="no such file: .*captions_train2014.json.*; get train2014.zip"
    ):
        load_dataset("coco", path="coco")
    root = make_coco(tmp_path / "coco", 20, 10)
    with pytest.raises(DataMissing, match="captions_train2017.json"):
        load_dataset("coco", path="coco", year=2017)
    missing = next((root / "val2014").iterdir())
    missing.unlink()
    with pytest.raises(
        DataMissing, match=f"{missing.name} cannot be read as an image .*No such file"
    ):
        load_dataset("coco", path="coco", size=8)
    file = root / "annotations" / "captions_val2014.json"
    file.write_text(json.dumps({"images": []}))
    with pytest.raises(DataMissing, match="val2014.json is not a captions file .KeyError"):
        load_dataset("coco", path="coco")


def test_imagenets_val_folder_is_the_report_split(tmp_path):
    make_folders(tmp_path / "im", train=20, test=4)
    dataset = load_dataset("folder", path="im", size=8)
    assert len(dataset.split("report")) == 24 and len(dataset.classes["label"]) == 6


@pytest.mark.parametrize("source", ["folder", "coco", "emoji", "digits"])
def test_a_catalogue_has_the_data_sets_fingerprint(tmp_path, source):
    make_folders(tmp_path / "folder", train=20, test=4)
    make_coco(tmp_path / "coco", 30, 10)
    options = {"folder": {"path": "folder", "size": 8}, "coco": {"path": "coco", "size": 8}}
    chosen = options.get(source, {})
    result = check(open_catalogue(source, **chosen))
    assert result.fingerprint == load_dataset(source, **chosen).fingerprint and not result.lines


def test_few_images_are_in_memory_at_once():
    """No more images are decoded in advance than AHEAD per thread."""
    digits, read = open_catalogue("digits"), []

    def blank(split, row):
        read.append(row)
        return np.zeros(digits.shape, np.uint8)

    listed = dataclasses.replace(digits, read=blank)
    for row, _ in enumerate(listed.decoded("generator-train", threads=2)):
        assert len(read) <= row + 2 + 2 * catalogue.AHEAD
    assert len(read) == 1078


def test_check_lists_all_unreadable_images(tmp_path):
    root = make_folders(tmp_path / "im", train=20, test=4)
    command = ("check", "folder", "-o", "path=im", "-o", "size=8")
    code, text = data(*command)
    dataset = load_dataset("folder", path="im", size=8)
    assert code == 0 and f"no unreadable images; fingerprint {dataset.fingerprint}" in text
    bad = sorted(root.glob("*/*/*.png"))[::30]
    for path in bad:
        path.write_bytes(b"not an image")
    code, text = data(*command)
    lines = [line for line in text.splitlines() if "cannot be read as an image" in line]
    assert code == 1 and len(lines) == len(bad) == 5 and "unreadable images: 5" in text
    assert all(sum(str(p.relative_to(tmp_path)) in line for line in lines) == 1 for p in bad)


def test_encode_on_the_command_line(tmp_path):
    from formats import make_vae

    root, _ = make_folders(tmp_path / "im", train=20, test=4), make_vae(tmp_path / "vae")
    command = ("encode", "folder", "-o", "path=im", "--vae", "vae", "--out", "lat", "--size", "8")
    code, text = data(*command)
    assert code == 0 and "encoded 144 images" in text and "images/s" in text
    dataset = load_dataset("latents", path="lat")
    assert dataset.fingerprint in text and dataset.inputs == (4, 4, 4)
    code, text = data(*command)
    assert code == 0 and "encoded 0 images" in text and "144 were encoded before" in text
    next(root.glob("train/*/*.png")).write_bytes(b"not an image")
    code, text = data(*command[:-4], "--out", "two", "--size", "8")
    assert code == 1 and "cannot be read" in text and "unreadable images: 1;" in text
    code, text = data(*command[:-4], "--out", "two", "--size", "8", "--skip-unreadable")
    assert code == 0 and "skipped: folder: " in text and "1 skipped" in text


WRONG = {
    "source": ("check", "foldr", "unknown data set 'foldr' (did you mean 'folder'?)"),
    "option": ("check", "folder", "-o", "pth=x", "options.pth: unknown key (did you mean 'path'?)"),
    "no value": ("check", "folder", "-o", "path", "--option: expected KEY=VALUE"),
    "kind": ("check", "coco", "-o", "path=x", "-o", "size=big", "options.size: "),
    "no vae": (
        "encode",
        "digits",
        "--vae",
        "nowhere/x",
        "--out",
        "o",
        "VAE nowhere/x cannot be loaded",
    ),
    "no folder": (
        "encode",
        "digits",
        "--vae",
        "./x",
        "--out",
        "o",
        "VAE: no such folder: ./x",
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
        "use --size",
    ),
    "latents": ("encode", "latents", "--vae", "v", "--out", "o", "already encoded"),
    "command": (
        "chek",
        "unknown command 'chek' (did you mean 'check'?); commands: list, check, encode; see ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_get_one_line(case, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    *words, said = WRONG[case]
    code, text = data(*words)
    assert code == 2 and len(text.strip().splitlines()) == 1, text
    assert said in text, text


def test_list_shows_what_is_installed_and_how_to_get_the_rest(tmp_path):
    code, text = data("list")
    assert code == 0
    blocks = {block.split(":")[0]: block for block in text.replace("\n  ", "|").splitlines()}
    assert "installed: 3x32x32; generator-train 3,767" in blocks["emoji"]
    assert "not installed: no batches.meta" in blocks["cifar10"]
    assert "path (required)" in blocks["coco"] and "licence" in blocks["digits"]
    make_cifar10(tmp_path / ".cabench/data")
    code, text = data("list")
    assert "installed: 3x32x32; generator-train 90" in text


def test_grey_images_become_rgb_for_a_vae(tmp_path):
    from cabench.data.encode import to_rgb

    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    same = to_rgb(grey, 8)
    assert same.shape == (3, 8, 8) and (same == grey).all()
    assert to_rgb(grey, 16).shape == (3, 16, 16)
    expected = Image.fromarray(grey[0]).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.abs(to_rgb(grey, 16)[0].astype(int) - np.asarray(expected)).max() <= 1
