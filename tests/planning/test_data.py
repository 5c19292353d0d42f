"""Data of a study: folders that are invalid or absent, and what a scale says instead."""

import pytest
from conftest import TINY_SCALE
from invalid import assert_at, error_of, put
from PIL import Image

from cabench.config.study import read_scale, read_study
from cabench.planning.trials import plan


def planned(folder):
    return plan(read_study(folder / "tiny.yaml"), read_scale("scale.yaml"))


def paint(path, count):
    path.mkdir(parents=True)
    for i in range(count):
        Image.new("L", (8, 8), i).save(path / f"{i}.png")


@pytest.fixture
def images(tiny):
    for label in ("cats", "dogs"):
        paint(tiny / "images" / label, 60)
        paint(tiny / "few" / label, 1)
        paint(tiny / "corrupted" / label, 60)
    (tiny / "corrupted" / "dogs" / "7.png").write_bytes(b"not an image")
    paint(tiny / "one" / "cats", 60)
    paint(tiny / "halves" / "train" / "cats", 30)
    paint(tiny / "halves" / "test" / "dogs", 30)
    for name in ("empty", "hollow/cats", "hollow/dogs"):
        (tiny / name).mkdir(parents=True)
    return tiny


# fmt: off
FOLDERS = {  # options of the source `folder` -> line and key of the error, text it contains
    "path: nowhere, size: 8": (4, "data.0", "nowhere/<class>"),
    "path: empty, size: 8": (4, "data.0", "subfolder"),
    "path: hollow, size: 8": (4, "data.0", "hollow/cats"),
    "path: tiny.yaml, size: 8": (4, "data.0", "tiny.yaml/<class>/"),
    "path: one, size: 8": (4, "data.0", "one class, cats"),
    "path: few, size: 8": (4, "data.0", "few"),
    "path: halves, size: 8": (4, "data.0", "halves/"),
    "path: corrupted, size: 8": (4, "data.0", "corrupted/dogs/7.png"),
    f"path: {'x' * 300}, size: 8": (4, "data.0", "File name too long"),
    "path: images, size: 0": (4, "data.0.options.size", "got 0"),
    "path: images, size: 1.0e+9": (4, "data.0.options.size", "got 1000000000"),
    "path: images, size: 1000000000": (4, "data.0.options.size", "4096"),
    "path: images, size: big": (4, "data.0.options.size", "got 'big'"),
    "path: images, size: 8, channels: 2": (4, "data.0.options.channels", "got 2"),
    "path: images, size: 8, flip: no": (4, "data.0.options.flip", "got 'no'"),
    "path: [images], size: 8": (4, "data.0.options.path", "got a list of 1"),
    "path: images": (4, "data.0.options.size", "missing"),
    "path: images, sise: 8": (4, "data.0.options.sise", "(did you mean 'size'?)"),
    "path: images, size: 8, channels: 1": (9, "sampling.n", "'report'"),
}
# fmt: on


@pytest.mark.parametrize("options", FOLDERS, ids=lambda options: options[:40])
def test_invalid_folders(images, options):
    line, key, text = FOLDERS[options]
    source = f"source: folder, options: {{{options}}}"
    put(images / "scale.yaml", TINY_SCALE.replace("source: digits", source))
    error = error_of(lambda: planned(images))
    assert_at(error, "scale.yaml", line, key)
    assert text in str(error)


@pytest.mark.parametrize(
    ("classes", "key"), [("{lable: 10}", "data.0.classes"), ("{label: 1}", "data.0.classes.label")]
)
def test_absent_data_that_the_scale_describes_incompletely(tiny, classes, key):
    options = "{path: nowhere, size: 8}"
    absent = f"source: folder, options: {options}, shape: [1, 8, 8], classes: {classes}"
    put(tiny / "scale.yaml", TINY_SCALE.replace("source: digits", absent))
    assert_at(error_of(lambda: planned(tiny)), "scale.yaml", 4, key)


def test_absent_data_is_described_by_the_scale(tiny):
    described = "source: folder, options: {path: nowhere, size: 8, flip: true}, shape: [1, 8, 8]"
    described += ", classes: {label: 7}"
    put(tiny / "scale.yaml", TINY_SCALE.replace("source: digits", described))
    data = planned(tiny).data
    assert (data.fingerprint, data.shape, data.classes) == (None, (1, 8, 8), {"label": 7})
    assert data.flip and "nowhere/<class>" in str(data.missing)
