import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from cabench.data import SPLITS, load_dataset, packed
from cabench.data.dataset import fingerprint
from cabench.data.sources import fashion_mnist
from cabench.errors import CabenchError, DataMissing


@pytest.fixture(scope="module")
def fashion16():
    return load_dataset("fashion16")


@pytest.fixture
def debian():
    if not (fashion_mnist.DEBIAN / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    return fashion_mnist.DEBIAN


SHIPPED = packed.FILES


def write_idx(folder: Path, stem: str, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    (folder / stem).write_bytes(header + values.tobytes())


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    """A folder of IDX files with the official sizes and class counts, and synthetic images."""
    folder = tmp_path_factory.mktemp("idx")
    for stem, count in (("train", 60000), ("t10k", 10000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1], images[:, 27, 27] = np.arange(count) % 251, labels, 9
        write_idx(folder, f"{stem}-images-idx3-ubyte", images)
        write_idx(folder, f"{stem}-labels-idx1-ubyte", labels)
    return folder


def test_shape_and_class_counts(fashion16):
    assert fashion16.shape == (1, 16, 16) and not fashion16.flip
    assert fashion16.classes["label"][0] == "T-shirt/top"
    for name, count in zip(SPLITS, (5000, 1000, 1000), strict=True):
        part = fashion16.split(name)
        assert part.images.shape == (10 * count, 1, 16, 16) and len(part) == 10 * count
        assert part.images.dtype == np.uint8 and part.images.flags.c_contiguous
        assert part.streams["label"].dtype == np.int64
        assert np.bincount(part.streams["label"]).tolist() == [count] * 10


def test_no_image_is_in_two_splits(fashion16):
    seen = [{image.tobytes() for image in fashion16.split(name).images} for name in SPLITS]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 70000


def test_known_images(fashion16):
    """Report is the official test set in order; its first ten labels are known."""
    report = fashion16.split("report")
    assert report.streams["label"][:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    labels, brightness = report.streams["label"], report.images.reshape(10000, -1).mean(1)
    assert (
        brightness[labels == 4].mean() > 2 * brightness[labels == 5].mean()
    )  # coats cover more than sandals


def test_shoes_all_point_left(fashion16):
    """Why `flip` is false: a sneaker's right half (the heel) is higher."""
    report = fashion16.split("report")
    sneakers = report.images[report.streams["label"] == 7, 0].astype(float)
    top = sneakers[:, :8].sum(1)  # brightness above the middle, by column
    assert np.mean(top[:, 8:].sum(1) > top[:, :8].sum(1)) > 0.95


def test_fingerprint_is_of_the_content(fashion16):
    assert fashion16.fingerprint == fingerprint(fashion16.splits, fashion16.classes)
    part = fashion16.split("judge-train")
    part.images[7, 0, 8, 8] ^= 1
    try:
        assert fashion16.fingerprint != fingerprint(fashion16.splits, fashion16.classes)
    finally:
        part.images[7, 0, 8, 8] ^= 1


def test_unknown_split(fashion16):
    with pytest.raises(CabenchError, match="did you mean 'report'"):
        fashion16.split("reports")


def test_area_average_of_the_source(fashion16, debian):
    """Each pixel is the mean of 2x2 pixels of the original padded by 2, recomputed by reshaping."""
    content = gzip.decompress((debian / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    original = np.frombuffer(content, np.uint8).reshape(-1, 28, 28)
    padded = np.pad(original, ((0, 0), (2, 2), (2, 2))).astype(float)
    mean = padded.reshape(-1, 16, 2, 16, 2).mean((2, 4))
    assert np.array_equal(fashion16.split("report").images[:, 0], np.floor(mean + 0.5))


def test_same_splits_at_28x28(fashion16, debian):
    large = load_dataset("fashion-mnist")
    assert large.shape == (1, 28, 28)
    for name in SPLITS:
        assert np.array_equal(
            large.split(name).streams["label"], fashion16.split(name).streams["label"]
        )
        inner = large.split(name).images[:, 0].astype(int)
        mean = inner.reshape(-1, 14, 2, 14, 2).sum((2, 4)) + 2
        assert np.array_equal(fashion16.split(name).images[:, 0, 1:15, 1:15], mean // 4)


def test_folder_of_idx_files(idx, tmp_path):
    plain = load_dataset("fashion-mnist", path=str(idx))
    for name in SPLITS:
        part = plain.split(name)
        assert np.array_equal(part.images[:, 0, 0, 1], part.streams["label"])  # still matched
    assert np.array_equal(plain.split("report").images[:, 0, 0, 0], np.arange(10000) % 251)
    for file in idx.iterdir():
        packed_file = tmp_path / f"{file.name}.gz"
        packed_file.write_bytes(gzip.compress(file.read_bytes(), 1))
    assert load_dataset("fashion-mnist", path=str(tmp_path)).fingerprint == plain.fingerprint


def test_missing_and_broken_idx_files(idx, tmp_path, monkeypatch):
    with pytest.raises(DataMissing, match=r"in nowhere; .*dataset-fashion-mnist"):
        load_dataset("fashion-mnist", path="nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "DEBIAN")
    with pytest.raises(
        DataMissing, match=r"DEBIAN or .cabench/data/FashionMNIST/raw; .*download: true"
    ):
        load_dataset("fashion-mnist")
    shutil.copytree(idx, tmp_path / "cut")
    file = tmp_path / "cut" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataMissing, match="t10k-images-idx3-ubyte: .* 7,840,015 bytes"):
        load_dataset("fashion-mnist", path=str(tmp_path / "cut"))


@pytest.mark.parametrize("name", ["fashion16", "emoji"])
def test_corrupted_package_data(name, tmp_path, monkeypatch):
    shutil.copytree(packed.FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(packed, "FILES", tmp_path)
    arrays, facts = tmp_path / f"{name}.npz", tmp_path / f"{name}.json"
    valid = arrays.read_bytes()
    for content in (valid[: len(valid) // 2], b"", valid[:50000] + b"\0\0\0" + valid[50003:]):
        arrays.write_bytes(content)
        with pytest.raises(DataMissing, match=rf"{name}\.npz .*build_{name}\.py"):
            load_dataset(name)
    with np.load(SHIPPED / arrays.name) as file:
        changed = dict(file)
    changed["images"][0, 0, 0, 0] ^= 1
    np.savez(arrays, **changed)
    with pytest.raises(DataMissing, match=rf"{name}\.npz: expected the fingerprint"):
        load_dataset(name)
    facts.unlink()
    with pytest.raises(DataMissing, match=rf"no such file: .*{name}\.json"):
        load_dataset(name)
