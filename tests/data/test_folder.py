import numpy as np
import pytest
from PIL import Image

from cabench.data import SPLITS, load_dataset
from cabench.data.dataset import fingerprint
from cabench.errors import CabenchError, DataMissing


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def paint(path, colour, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of 60; red says which picture, green which class."""
    root = tmp_path / "pictures"
    for k, label in enumerate(("cats", "dogs")):
        for i in range(60):
            paint(root / label / f"{i:03}.png", (i, 100 * k, 7))
    return root


def homes(dataset):
    """(class, red value) -> split, for every picture."""
    return {
        (int(label), int(image[0, 0, 0])): name
        for name in SPLITS
        for image, label in zip(
            dataset.split(name).images, dataset.split(name).streams["label"], strict=True
        )
    }


def test_class_folders(pictures):
    made = load_dataset("folder", path=str(pictures), size=8, flip=True)
    assert made.classes == {"label": ["cats", "dogs"]} and made.shape == (3, 8, 8) and made.flip
    assert len(homes(made)) == 120
    for name in SPLITS:
        part = made.split(name)
        assert np.array_equal(part.images[:, 1, 3, 3], 100 * part.streams["label"])
        assert (part.images[:, 2] == 7).all() and part.images.flags.c_contiguous
    assert 80 <= len(made.split("generator-train")) <= 112
    assert made.fingerprint == fingerprint(made.splits, made.classes)


def test_adding_pictures_moves_none(pictures):
    before = load_dataset("folder", path=str(pictures), size=8)
    for i in range(60, 90):
        paint(pictures / "cats" / f"{i:03}.png", (i, 0, 7))
    after = load_dataset("folder", path=str(pictures), size=8)
    assert homes(before).items() <= homes(after).items() and len(homes(after)) == 150
    assert before.fingerprint != after.fingerprint


def test_train_and_test_folders(tmp_path):
    for i in range(100):
        paint(tmp_path / "c10/train/ship" / f"{i}.png", (i, 0, 0))
        paint(tmp_path / "c10/test/ship" / f"{i}.png", (i, 1, 0))
    made = load_dataset("folder", path="c10", size=8)
    assert (made.split("report").images[:, 1] == 1).all() and len(made.split("report")) == 100
    train, judge = len(made.split("generator-train")), len(made.split("judge-train"))
    assert train + judge == 100 and 80 <= train <= 98


def test_fingerprint_is_of_pixels_not_of_times(pictures):
    first = load_dataset("folder", path=str(pictures), size=8)
    picture = pictures / "dogs" / "000.png"
    content = picture.read_bytes()
    picture.unlink()
    picture.write_bytes(content)
    assert load_dataset("folder", path=str(pictures), size=8).fingerprint == first.fingerprint
    paint(picture, (0, 100, 8))
    assert load_dataset("folder", path=str(pictures), size=8).fingerprint != first.fingerprint


def test_second_load_decodes_nothing(pictures, monkeypatch):
    first = load_dataset("folder", path=str(pictures), size=8)
    monkeypatch.setattr(Image, "open", None)
    assert load_dataset("folder", path=str(pictures), size=8).fingerprint == first.fingerprint
    with pytest.raises(DataMissing):
        load_dataset("folder", path=str(pictures), size=4)


def test_resized_and_cropped_about_the_centre(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (200, 100, 50)  # the middle third is what is kept
    for i in range(60):
        (tmp_path / "p/a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(wide).save(tmp_path / "p/a" / f"{i}.png")
    middle = load_dataset("folder", path="p", size=10).split("report").images[0]
    assert middle.shape == (3, 10, 10)
    assert np.allclose(middle[:, :, 3:7].T, (200, 100, 50), atol=1)
    assert np.allclose(middle.T, (200, 100, 50), atol=12)  # the filter reaches over the cut


def test_kinds_of_pictures(tmp_path):
    for i in range(60):
        paint(tmp_path / "k/a" / f"{i}.png", (0, 0, 0, 0), mode="RGBA")
        paint(tmp_path / "k/b" / f"{i}.gif", 128, mode="L")
        paint(tmp_path / "k/b" / f"{i}.JPG", (128, 128, 128))
    (tmp_path / "k/a/readme.txt").write_text("not a picture")
    made = load_dataset("folder", path="k", size=8, channels=1)
    assert made.shape == (1, 8, 8)
    for name in SPLITS:
        part = made.split(name)
        expected = np.where(part.streams["label"] == 0, 255, 128)  # transparent is white
        assert np.allclose(part.images.mean((1, 2, 3)), expected, atol=2)


def test_broken_and_missing(pictures, tmp_path):
    with pytest.raises(DataMissing, match="nowhere/<class>/<picture> .*no such folder"):
        load_dataset("folder", path="nowhere", size=8)
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataMissing, match="no subfolder"):
        load_dataset("folder", path="flat", size=8)
    (pictures / "empty").mkdir()
    with pytest.raises(DataMissing, match="looked for pictures in .*empty, found none"):
        load_dataset("folder", path=str(pictures), size=8)
    (pictures / "empty").rmdir()
    broken = pictures / "cats" / "003.png"
    broken.write_bytes(broken.read_bytes()[:45])
    with pytest.raises(DataMissing, match=r"cats/003\.png doesn't read"):
        load_dataset("folder", path=str(pictures), size=8)
    assert not list((tmp_path / ".cabench/data").iterdir())  # nothing half-made is left
    paint(tmp_path / "few/a/1.png", 0)
    with pytest.raises(DataMissing, match="too few pictures"):
        load_dataset("folder", path="few", size=8)
    with pytest.raises(CabenchError, match="options.channels: should be 1 or 3; found 2"):
        load_dataset("folder", path=str(pictures), size=8, channels=2)
