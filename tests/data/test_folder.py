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
