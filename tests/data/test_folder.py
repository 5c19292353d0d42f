import hashlib
import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from cli import cabench
from PIL import Image, ImageOps

from cabench.data import SPLITS, load_dataset, open_catalogue
from cabench.data.catalogue import check
from cabench.data.dataset import fingerprint
from cabench.data.encode import Job, encode
from cabench.errors import CabenchError, DataMissing
from cabench.metrics.extractors.base import on_white


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def paint(path, colour, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def images(tmp_path):
    """Two classes of 60 images; red is the image's number, green its class."""
    root = tmp_path / "images"
    for k, label in enumerate(("cats", "dogs")):
        for i in range(60):
            paint(root / label / f"{i:03}.png", (i, 100 * k, 7))
    return root


def split_of(dataset):
    """(class, red value) of each image -> its split."""
    return {
        (int(label), int(image[0, 0, 0])): name
        for name in SPLITS
        for image, label in zip(
            dataset.split(name).images, dataset.split(name).streams["label"], strict=True
        )
    }


def test_class_folders(images):
    dataset = load_dataset("folder", path=str(images), size=8, flip=True)
    assert (
        dataset.classes == {"label": ["cats", "dogs"]}
        and dataset.shape == (3, 8, 8)
        and dataset.flip
    )
    assert len(split_of(dataset)) == 120
    for name in SPLITS:
        part = dataset.split(name)
        assert np.array_equal(part.images[:, 1, 3, 3], 100 * part.streams["label"])
        assert (part.images[:, 2] == 7).all() and part.images.flags.c_contiguous
    assert 80 <= len(dataset.split("generator-train")) <= 112
    assert dataset.fingerprint == fingerprint(dataset.splits, dataset.classes)


def test_adding_images_moves_no_other_image(images):
    before = load_dataset("folder", path=str(images), size=8)
    for i in range(60, 90):
        paint(images / "cats" / f"{i:03}.png", (i, 0, 7))
    after = load_dataset("folder", path=str(images), size=8)
    assert split_of(before).items() <= split_of(after).items() and len(split_of(after)) == 150
    assert before.fingerprint != after.fingerprint


def test_train_and_test_folders(tmp_path):
    for i in range(100):
        paint(tmp_path / "c10/train/ship" / f"{i}.png", (i, 0, 0))
        paint(tmp_path / "c10/test/ship" / f"{i}.png", (i, 1, 0))
    dataset = load_dataset("folder", path="c10", size=8)
    assert (dataset.split("report").images[:, 1] == 1).all() and len(dataset.split("report")) == 100
    train, judge = len(dataset.split("generator-train")), len(dataset.split("judge-train"))
    assert train + judge == 100 and 80 <= train <= 98


def test_fingerprint_is_of_pixels_not_of_modification_times(images):
    first = load_dataset("folder", path=str(images), size=8)
    path = images / "dogs" / "000.png"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert load_dataset("folder", path=str(images), size=8).fingerprint == first.fingerprint
    paint(path, (0, 100, 8))
    assert load_dataset("folder", path=str(images), size=8).fingerprint != first.fingerprint


def test_second_load_decodes_nothing(images, monkeypatch):
    first = load_dataset("folder", path=str(images), size=8)
    monkeypatch.setattr(Image, "open", None)
    assert load_dataset("folder", path=str(images), size=8).fingerprint == first.fingerprint
    with pytest.raises(DataMissing):
        load_dataset("folder", path=str(images), size=4)


def test_resized_and_cropped_about_the_centre(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (200, 100, 50)  # the crop keeps the middle third
    for i in range(60):
        (tmp_path / "p/a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(wide).save(tmp_path / "p/a" / f"{i}.png")
    middle = load_dataset("folder", path="p", size=10).split("report").images[0]
    assert middle.shape == (3, 10, 10)
    assert np.allclose(middle[:, :, 3:7].T, (200, 100, 50), atol=1)
    assert np.allclose(middle.T, (200, 100, 50), atol=12)  # the filter reaches beyond the crop


def test_image_formats(tmp_path):
    for i in range(60):
        paint(tmp_path / "k/a" / f"{i}.png", (0, 0, 0, 0), mode="RGBA")
        paint(tmp_path / "k/b" / f"{i}.gif", 128, mode="L")
        paint(tmp_path / "k/b" / f"{i}.JPG", (128, 128, 128))
    (tmp_path / "k/a/readme.txt").write_text("not an image")
    dataset = load_dataset("folder", path="k", size=8, channels=1)
    assert dataset.shape == (1, 8, 8)
    for name in SPLITS:
        part = dataset.split(name)
        expected = np.where(part.streams["label"] == 0, 255, 128)  # transparent is white
        assert np.allclose(part.images.mean((1, 2, 3)), expected, atol=2)


def test_unreadable_and_missing_images(images, tmp_path):
    with pytest.raises(DataMissing, match="nowhere/<class>/<image> .*no such folder"):
        load_dataset("folder", path="nowhere", size=8)
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataMissing, match="no subfolder"):
        load_dataset("folder", path="flat", size=8)
    (images / "empty").mkdir()
    with pytest.raises(DataMissing, match="no images in .*empty"):
        load_dataset("folder", path=str(images), size=8)
    (images / "empty").rmdir()
    broken = images / "cats" / "003.png"
    broken.write_bytes(broken.read_bytes()[:45])
    with pytest.raises(DataMissing, match=r"cats/003\.png cannot be read"):
        load_dataset("folder", path=str(images), size=8)
    assert not list((tmp_path / ".cabench/data").iterdir())  # nothing unfinished is left
    paint(tmp_path / "few/a/1.png", 0)
    with pytest.raises(DataMissing, match="too few images in few"):
        load_dataset("folder", path="few", size=8)
    with pytest.raises(CabenchError, match=r"options\.channels: "):
        load_dataset("folder", path=str(images), size=8, channels=2)


# ---- pixels that must not change ----------------------------------------------------------------


def noise(path, rng, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.randint(0, 256, shape, dtype=np.uint8)).save(path)


def expected_folder(root, size):
    """Splits and pixels of an RGB folder, by another way than the source's."""
    splits = {name: [] for name in SPLITS}
    classes = sorted(p.name for p in root.iterdir())
    for path in root.glob("*/*"):
        name = str(path.relative_to(root))
        draw = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64
        split = SPLITS[0] if draw < 0.8 else SPLITS[1] if draw < 0.9 else SPLITS[2]
        image = ImageOps.fit(Image.open(path), (size, size), Image.Resampling.LANCZOS)
        pixels = np.moveaxis(np.asarray(image), 2, 0)
        splits[split].append((draw, classes.index(path.parent.name), pixels))
    return {name: sorted(rows, key=lambda row: row[0]) for name, rows in splits.items()}


def test_an_ordinary_folder_has_the_same_pixels_and_fingerprint_as_ever(tmp_path):
    rng = np.random.RandomState(0)
    for label in ("cats", "dogs"):
        for i in range(60):
            noise(tmp_path / "a" / label / f"{i:03}.png", rng, (20, 30, 3))
    dataset = load_dataset("folder", path="a", size=10)
    for name, rows in expected_folder(tmp_path / "a", 10).items():
        assert np.array_equal(dataset.split(name).images, [pixels for *_, pixels in rows])
        assert dataset.split(name).streams["label"].tolist() == [label for _, label, _ in rows]
    # of version 0.1.0, with Pillow 13: the resizing filter may differ by a bit in others
    pinned = "893813cc866909c1ebe9a85d1ec8db48378eaf26a2d8fccbd85d17125403b1f3"
    if Image.__version__.startswith("13."):
        assert dataset.fingerprint == pinned


# ---- what is listed -----------------------------------------------------------------------------


def test_subfolders_belong_to_their_class(tmp_path):
    for i in range(60):
        paint(tmp_path / "n/cats/2020/may" / f"{i}.png", (i, 0, 0))
        paint(tmp_path / "n/dogs" / f"{i}.png", (i, 100, 0))
        paint(tmp_path / "n/dogs/cats" / f"{i}.png", (60 + i, 100, 0))
    first = load_dataset("folder", path="n", size=8)
    assert first.classes == {"label": ["cats", "dogs"]} and len(split_of(first)) == 180
    leaf = load_dataset("folder", path="n", size=8, classes="leaf")
    assert leaf.classes == {"label": ["cats", "dogs", "may"]}
    counts = np.bincount([label for label, _ in split_of(leaf)])
    assert counts.tolist() == [60, 60, 60]
    assert first.fingerprint != leaf.fingerprint


def test_ignored_files_are_counted_by_reason(images, caplog):
    for name in ("._001.png", ".DS_Store"):
        (images / "cats" / name).write_bytes(b"x")
    paint(images / ".cache/cats/thumbnail.png", 0)
    paint(images / "__MACOSX/cats/1.png", 0)
    for name in ("a.pdf", "b.pdf", "c.MPG", "d.h5", "Makefile"):
        (images / "dogs" / name).write_bytes(b"x")
    paint(images / "loose.png", 0)
    os.mkfifo(images / "dogs" / "pipe.png")
    line = (
        "ignored 11 files: 5 not an image type (.pdf, .h5, .mpg, no suffix), 4 hidden, "
        "1 in the top directory, 1 neither a file nor a folder"
    )
    assert line in open_catalogue("folder", path=str(images), size=8).notes
    with caplog.at_level(logging.WARNING, "cabench"):
        assert len(split_of(load_dataset("folder", path=str(images), size=8))) == 120
    assert f"folder: {line}" in caplog.messages
    code, out, _ = cabench("data", "check", "folder", "-o", f"path={images}", "-o", "size=8")
    assert code == 0 and line in out


def test_a_folder_without_classes_says_what_is_there(tmp_path):
    for i in range(3):
        paint(tmp_path / "flat" / f"{i}.png", 0)
    with pytest.raises(DataMissing, match="got ignored 3 files: 3 in the top directory; name the"):
        load_dataset("folder", path="flat", size=8)


def latin1(folder: Path, name: bytes = b"caf\xe9.png") -> bytes:
    """A file whose name is not UTF-8."""
    path = os.path.join(os.fsencode(folder), name)
    with open(path, "wb") as file:
        file.write((folder / "001.png").read_bytes())
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_every_file_that_cannot_be_listed_is_named(images):
    latin1(images / "cats")
    latin1(images / "cats", b"notes\xe9.txt")  # is no image, so its name does not matter
    os.mkdir(os.fsencode(images) + b"/v\xf6gel")
    (images / "cats/gone.png").symlink_to("nowhere.png")
    (images / "cats/.gone.png").symlink_to("nowhere.png")
    (images / "dogs/back").symlink_to(images)
    (images / "dogs/circle.png").symlink_to("circle.png")
    catalogue = open_catalogue("folder", path=str(images), size=8)
    lines = [line.removeprefix(f"{images}/") for line in catalogue.problems]
    assert [line.split(":")[0] for line in lines] == [
        "cats/caf\\udce9.png",
        "cats/gone.png",
        "dogs/back",
        "dogs/circle.png",
        "v\\udcf6gel",
    ]
    assert all(line.isprintable() for line in lines)
    with pytest.raises(DataMissing, match=r"cats/caf.*not UTF-8.*4 more: `cabench data check`"):
        load_dataset("folder", path=str(images), size=8)
    code, out, err = cabench("data", "check", "folder", "-o", f"path={images}", "-o", "size=8")
    assert code == 1 and not err and "unreadable images: 5" in out
    assert all(f"folder: {line}" in out for line in catalogue.problems)


def test_an_unreadable_folder_is_named(images, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    (images / "cats/secret").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataMissing, match="cats/secret: cannot list .*Permission denied"):
        load_dataset("folder", path=str(images), size=8)


# ---- options ------------------------------------------------------------------------------------


def only_image(tmp_path, image, suffix="png", **options):
    """The pixels (C, H, W) that an image becomes."""
    folder = tmp_path / "one" / "a"
    folder.mkdir(parents=True)
    for i in range(4):
        image.save(folder / f"{i}.{suffix}")
    options = {"size": 8, "held_out": 0.25} | options
    return load_dataset("folder", path="one", **options).split("report").images[0]


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040, "png"),
        (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040, "tiff"),
        (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "tiff"),
        (np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8), "tiff"),
        (np.arange(64, dtype=np.int32).reshape(8, 8) * 1040, "tiff"),
    ],
    ids=["16-bit PNG", "16-bit TIFF", "float to 1", "float to 255", "32-bit"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_8_bit_is_scaled(tmp_path, values, suffix, channels):
    pixels = only_image(tmp_path, Image.fromarray(values), suffix, channels=channels)
    white = 65535 if values.dtype.kind in "iu" else np.ceil(values.max())
    expected = np.floor(values.astype(np.float64) / white * 255 + 0.5)
    assert np.array_equal(pixels, np.broadcast_to(expected, (channels, 8, 8)))


@pytest.mark.parametrize("value", [-1.0, 70000.0, float("nan")])
def test_floats_of_an_unknown_range_are_refused(tmp_path, value):
    image = Image.fromarray(np.full((8, 8), value, np.float32))
    with pytest.raises(DataMissing, match=r"one/a/\d.tiff .*expected values from 0 to 65535"):
        only_image(tmp_path, image, "tiff")


def halves(width, height):
    """An image whose left half is black, its right half white."""
    return Image.fromarray(
        np.repeat([[0] * (width // 2) + [255] * (width // 2)], height, 0).astype(np.uint8)
    )


def test_fit_pad_and_stretch(tmp_path):
    left = np.arange(16) < 8
    pixels = only_image(tmp_path, halves(64, 32), size=16, fit="stretch")
    assert np.array_equal(pixels[0, 0] < 128, left) and (pixels == pixels[:, :1]).all()


def test_pad_has_borders_of_the_background(tmp_path):
    pixels = only_image(tmp_path, halves(64, 32), size=16, fit="pad", background="#0000ff")
    border = np.zeros(16, bool)
    border[:4] = border[12:] = True
    assert (pixels[:, border].transpose(1, 2, 0) == (0, 0, 255)).all()
    assert np.array_equal(pixels[0, 8] < 128, np.arange(16) < 8)


def test_background_of_transparent_images(tmp_path):
    pixels = only_image(tmp_path, Image.new("RGBA", (8, 8), (9, 9, 9, 0)), background="red")
    assert (pixels.transpose(1, 2, 0) == (255, 0, 0)).all()


def test_height_and_width(tmp_path):
    pixels = only_image(tmp_path, halves(64, 32), size=[8, 16])
    assert pixels.shape == (3, 8, 16) and np.array_equal(pixels[0, 0] < 128, np.arange(16) < 8)


def test_upscaled_images_are_counted(images, caplog):
    paint(images / "cats/999.png", (1, 2, 3), size=(8, 30))
    warned = {}
    for fit in ("crop", "pad", "stretch"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "cabench"):
            load_dataset("folder", path=str(images), size=16, fit=fit)
        (warned[fit],) = [m for m in caplog.messages if "upscaled" in m]
    assert "folder: 121 of 121 images are smaller than 16x16" in warned["crop"]
    assert "120 of 121" in warned["pad"]  # the image of 8x30 is scaled down to fit
    caplog.clear()
    load_dataset("folder", path=str(images), size=8)
    assert not caplog.messages


def test_images_on_their_side_are_turned_before_they_are_compared(tmp_path, caplog):
    image, exif = halves(32, 16), Image.Exif()
    exif[274] = 6  # turned by 90 degrees: 16 wide and 32 high
    (tmp_path / "one/a").mkdir(parents=True)
    for i in range(4):
        image.save(tmp_path / "one/a" / f"{i}.png", exif=exif)
    for size, upscaled in (([32, 16], False), ([16, 32], True)):
        caplog.clear()
        load_dataset("folder", path="one", size=size, held_out=0.25)
        assert bool(caplog.messages) is upscaled


def test_held_out_is_a_share_of_every_class(tmp_path):
    for label, count in (("a", 40), ("b", 7), ("c", 1)):
        for i in range(count):
            paint(tmp_path / "h" / label / f"{i}.png", (i, 0, 0))
    dataset = load_dataset("folder", path="h", size=8, held_out=0.25)
    counts = {n: np.bincount(dataset.split(n).streams["label"], minlength=3) for n in SPLITS}
    assert counts["report"].tolist() == counts["judge-train"].tolist() == [10, 2, 0]
    assert counts["generator-train"].tolist() == [20, 3, 1]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"background": "wite"}, "options.background: expected a colour"),
        ({"fit": "corp"}, "options.fit: .*did you mean 'crop'"),
        ({"classes": "leafs"}, "options.classes: .*did you mean 'leaf'"),
        ({"held_out": 0.5}, "options.held_out: expected a number less than 0.5, got 0.5"),
        ({"size": [8, 8, 8]}, "options.size"),
    ],
)
def test_invalid_options(option, text):
    with pytest.raises(CabenchError, match=text):
        load_dataset("folder", **({"path": "x", "size": 8} | option))


# ---- metadata.jsonl -----------------------------------------------------------------------------


def write_rows(folder, rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def row(label, i, **values):
    values = {"text": f"number  {i}", "style": ["oil", "ink"][i % 2], "size": 10 * (i % 3)} | values
    return {"file_name": f"{label}/{i:03}.png"} | values


@pytest.fixture
def rows(images):
    rows = [row(label, i) for label in ("cats", "dogs") for i in range(60)]
    write_rows(images, rows)
    return rows


def test_captions_and_further_labels(images, rows):
    dataset = load_dataset("folder", path=str(images), size=8)
    assert dataset.classes == {
        "label": ["cats", "dogs"],
        "style": ["ink", "oil"],
        "size": ["0", "10", "20"],
    }
    for name in SPLITS:
        part = dataset.split(name)
        numbers = part.images[:, 0, 0, 0].astype(int)  # red is the image's number
        assert part.texts["text"] == [f"number {i}" for i in numbers]
        assert np.array_equal(part.streams["style"], 1 - numbers % 2)
        assert np.array_equal(part.streams["size"], numbers % 3)
    result = check(open_catalogue("folder", path=str(images), size=8))
    assert result.fingerprint == dataset.fingerprint


def test_a_changed_caption_is_read_again(images, rows):
    before = load_dataset("folder", path=str(images), size=8)
    write_rows(images, [row | {"text": "another"} for row in rows])
    after = load_dataset("folder", path=str(images), size=8)
    assert before.fingerprint != after.fingerprint
    assert set(after.split("report").texts["text"]) == {"another"}


def test_several_captions(images, rows):
    rows[0]["text"] = ["a", "b"]
    write_rows(images, rows)
    texts = load_dataset("folder", path=str(images), size=8).splits
    every = [tuple(t) for split in texts.values() for t in split.texts["text"]]
    assert ("a", "b") in every and ("number 7",) in every


def test_labels_of_metadata_replace_the_folders(tmp_path):
    for i in range(40):
        paint(tmp_path / "flat" / f"{i}.png", (i, 0, 0))
    write_rows(tmp_path / "flat", [{"file_name": f"{i}.png", "label": i % 2} for i in range(40)])
    dataset = load_dataset("folder", path="flat", size=8, held_out=0.2)
    assert dataset.classes == {"label": ["0", "1"]}
    assert all(label == red % 2 for label, red in split_of(dataset))


def test_metadata_of_each_part(tmp_path):
    for part in ("train", "test"):
        for i in range(40):
            paint(tmp_path / "p" / part / "a" / f"{i:03}.png", (i, 0, 0))
        write_rows(tmp_path / "p" / part, [row("a", i, text=part) for i in range(40)])
    splits = load_dataset("folder", path="p", size=8).splits
    assert set(splits["report"].texts["text"]) == {"test"}
    assert set(splits["generator-train"].texts["text"]) == {"train"}


def test_unusable_keys_are_noted(images, rows):
    write_rows(images, [row | {"box": [1, 2], "Odd key": 1, "timestep": 3} for row in rows])
    catalogue = open_catalogue("folder", path=str(images), size=8)
    assert [line.split(":")[1] for line in catalogue.notes] == [
        " the key 'box' is ignored",
        " the key 'Odd key' is ignored",
        " the key 'timestep' is ignored",
    ]
    assert list(catalogue.classes) == ["label", "style", "size"] and not catalogue.problems


PROBLEMS = {  # edits of the rows -> what is said of them
    "absent row": (lambda rows: rows.pop(3), "cats/003.png: no row of metadata.jsonl"),
    "absent key": (
        lambda rows: rows[3].pop("style"),
        "metadata.jsonl:4: the key 'style' is missing",
    ),
    "null": (lambda rows: rows[3].update(text=None), "metadata.jsonl:4: the key 'text' is missing"),
    "no image": (
        lambda rows: rows.append(row("cats", 999)),
        "metadata.jsonl:121: file_name: no such image: cats/999.png",
    ),
    "twice": (
        lambda rows: rows.append(row("cats", 7)),
        "metadata.jsonl:121: file_name: 'cats/007.png' is listed before, at",
    ),
    "no JSON": (lambda rows: rows.insert(0, "{"), "metadata.jsonl:1: not JSON"),
    "no object": (lambda rows: rows.insert(0, [1]), "metadata.jsonl:1: expected an object with"),
    "no name": (lambda rows: rows.insert(0, {"text": "x"}), "metadata.jsonl:1: expected an object"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problems_of_metadata_name_file_and_line(images, rows, case):
    edit, text = PROBLEMS[case]
    edit(rows)
    write_rows(images, rows)
    (line,) = open_catalogue("folder", path=str(images), size=8).problems
    assert text in line and line.startswith((str(images), "cats/"))
    with pytest.raises(DataMissing, match="^folder: "):
        load_dataset("folder", path=str(images), size=8)


@pytest.fixture
def sprites(tmp_path):
    """Two classes of 30 RGBA images of 8x8: opaque, half opaque and transparent columns."""
    root = tmp_path / "sprites"
    for k, label in enumerate(("cats", "dogs")):
        for i in range(30):
            pixels = np.full((8, 8, 4), (i, 100 * k, 200, 255), np.uint8)
            pixels[:, 3:6, 3], pixels[:, 6:, 3] = 128, 0
            path = root / label / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def test_opacity_is_a_fourth_channel(sprites):
    dataset = load_dataset("folder", path=str(sprites), size=8, channels=4)
    images = dataset.split("generator-train").images
    assert dataset.shape == (4, 8, 8) and (images[:, 2] == 200).all()
    assert (images[:, 3] == np.repeat([255, 128, 0], [3, 3, 2])).all()
    padded = load_dataset("folder", path=str(sprites), size=[8, 12], channels=4, fit="pad")
    borders = padded.split("report").images[..., [0, 1, 10, 11]]
    assert padded.shape == (4, 8, 12) and not borders.any()


def test_opaque_images_have_an_opacity_of_255(images):
    dataset = load_dataset("folder", path=str(images), size=8, channels=4)
    assert (dataset.split("report").images[:, 3] == 255).all()


def test_metrics_see_opacity_in_front_of_white(sprites):
    with_opacity = load_dataset("folder", path=str(sprites), size=8, channels=4)
    seen = on_white(with_opacity.split("report").images)
    expected = load_dataset("folder", path=str(sprites), size=8, background="white")
    assert np.array_equal(seen, expected.split("report").images)
    assert on_white(seen) is seen


@pytest.mark.slow
def test_a_study_of_images_with_opacity_ends(sprites, tiny):
    options = ("--data", "folder", "-o", f"path={sprites}", "-o", "size=8", "-o", "channels=4")
    text = (tiny / "scale.yaml").read_text()
    (tiny / "scale.yaml").write_text(text.replace("n: 100", "n: 10").replace("kid, ", ""), "utf-8")
    text = (tiny / "tiny.yaml").read_text().replace("kid", "condition_accuracy")
    (tiny / "tiny.yaml").write_text(text, "utf-8")
    words = ("--executor", "local", "--seeds", "1", *options, "-o", "held_out=0.3")
    code, out, err = cabench("run", "tiny.yaml", "--scale", "scale.yaml", *words)
    assert code == 0 and "failed" not in out, out + err
    (record,) = [p for p in (tiny / "results/records").glob("*.png")][:1]
    assert Image.open(record).mode == "RGBA"


def test_latents_of_images_with_opacity_are_refused(sprites, tmp_path):
    job = Job(open_catalogue("folder", path=str(sprites), size=8, channels=4), None, tmp_path, 8)
    with pytest.raises(CabenchError, match="a VAE takes images of 1 or 3 channels, got 4"):
        encode(job)
