"""Streams of numbers: read, standardised, in the fingerprint and in batches."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cabench.data import SPLITS, load_dataset
from cabench.data.dataset import Split
from cabench.data.metadata import MOST_LABELS
from cabench.data.sources.fashion16_measured import measures
from cabench.data.vectors import is_vector, standardised
from cabench.diffusion.batches import Data
from cabench.errors import DataMissing
from cabench.models.embedding import VectorEmbedding
from cabench.models.streams import distinct


def test_numbers_are_standardised_by_generator_train():
    g = np.random.default_rng(0)
    raw = {name: {"pose": g.normal([3, -70], [2, 0.1], (50, 2))} for name in SPLITS}
    scaled = standardised("mine", raw)
    trained = scaled["generator-train"]["pose"]
    assert trained.dtype == np.float32
    assert np.allclose(trained.mean(0), 0, atol=1e-5) and np.allclose(trained.std(0), 1, atol=1e-5)
    mean, spread = raw["generator-train"]["pose"].mean(0), raw["generator-train"]["pose"].std(0)
    assert np.allclose(scaled["report"]["pose"] * spread + mean, raw["report"]["pose"], atol=1e-4)


def test_a_number_that_does_not_vary_is_refused():
    raw = {name: {"pose": np.array([[1.0, 0.3], [2.0, 0.3]])} for name in SPLITS}
    with pytest.raises(DataMissing, match=r"^mine: pose: number 2 of 2 is 0.3 for all images"):
        standardised("mine", raw)


@pytest.mark.parametrize("value", [1, 2.5, [1, 2.5], [0.0]])
def test_vectors(value):
    assert is_vector(value)


@pytest.mark.parametrize("value", [True, None, "1", [], [1, "2"], float("nan"), [float("inf")]])
def test_no_vectors(value):
    assert not is_vector(value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images whose red is 10 times the number in their metadata, and whose green is its square."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for i in range(120):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        k = i % 7
        Image.new("RGB", (4, 4), (10 * k, k * k, 0)).save(path)
        rows.append({"file_name": f"{'ab'[i % 2]}/{path.name}", "age": k + 0.5, "pose": [k, k * k]})
    return tmp_path / "images", rows


def write(folder, rows):
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_numbers_from_metadata_stay_with_their_image(folder):
    root, rows = folder
    write(root, rows)
    dataset = load_dataset("folder", path=str(root), size=4)
    assert dataset.vectors == {"age": 1, "pose": 2} and set(dataset.classes) == {"label"}
    k = np.concatenate([dataset.split(name).images[:, 0, 0, 0] // 10 for name in SPLITS])
    age = np.concatenate([dataset.split(name).vectors["age"][:, 0] for name in SPLITS])
    pose = np.concatenate([dataset.split(name).vectors["pose"] for name in SPLITS])
    assert np.corrcoef(age, k)[0, 1] == pytest.approx(1)  # an affine map of the number
    assert np.corrcoef(pose[:, 0], k)[0, 1] == pytest.approx(1)
    assert np.corrcoef(pose[:, 1], k.astype(float) ** 2)[0, 1] == pytest.approx(1)


def test_other_numbers_are_another_data_set(folder):
    root, rows = folder
    write(root, rows)
    before = load_dataset("folder", path=str(root), size=4).fingerprint
    write(root, [{**rows[0], "age": 9.5}, *rows[1:]])
    assert load_dataset("folder", path=str(root), size=4).fingerprint != before


def test_whole_numbers_are_labels(folder):
    root, rows = folder
    write(root, [{"file_name": row["file_name"], "year": int(row["age"])} for row in rows])
    dataset = load_dataset("folder", path=str(root), size=4)
    assert dataset.vectors == {} and dataset.classes["year"] == list("0123456")


def test_lists_of_several_lengths_are_ignored_with_a_reason(folder, caplog):
    root, rows = folder
    write(root, [{**rows[0], "pose": [1.0]}, *rows[1:]])
    assert load_dataset("folder", path=str(root), size=4).vectors == {"age": 1}
    assert "the key 'pose' is ignored: expected text or whole numbers, or" in caplog.text


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([["cat"], ["cat", "dog"], [], ["ox", "cat"]], ["cat", "dog", "ox"]),
        ([[7], [7, 10], [], [9, 7]], [7, 9, 10]),
    ],
)
def test_several_labels_an_image_are_a_stream(folder, caplog, labels, names):
    """One number per label: 1 where the image has it, -1 elsewhere."""
    root, rows = folder
    write(root, [{**row, "tags": labels[i % 7 % 4]} for i, row in enumerate(rows)])
    dataset = load_dataset("folder", path=str(root), size=4)
    assert dataset.vectors == {"age": 1, "pose": 2, "tags": 3}
    for name in SPLITS:
        split = dataset.split(name)
        number = split.images[:, 0, 0, 0] // 10  # i % 7
        expected = [[1 if n in labels[k % 4] else -1 for n in names] for k in number]
        assert np.array_equal(split.vectors["tags"], expected)
    order = ", ".join(map(str, names))
    line = f"several labels per image: a stream of 3 numbers, in the order {order}"
    assert line in caplog.text


def test_several_labels_are_no_classes(folder, caplog):
    root, rows = folder
    write(root, [{**row, "label": ["a", "b"][: 1 + i % 2]} for i, row in enumerate(rows)])
    assert load_dataset("folder", path=str(root), size=4).classes == {"label": ["a", "b"]}
    assert "the key 'label' is ignored: several labels per image need a key of another name" in (
        caplog.text
    )


def test_a_label_of_all_images_is_left_out(folder):
    root, rows = folder
    write(root, [{**row, "tags": ["a", "b"][: 1 + i % 2]} for i, row in enumerate(rows)])
    assert load_dataset("folder", path=str(root), size=4).vectors["tags"] == 1
    write(root, [{**row, "tags": ["a"]} for row in rows])
    assert "tags" not in load_dataset("folder", path=str(root), size=4).vectors


def test_a_label_of_few_images_is_seen_by_the_embedding():
    """At a share of 1 / (4 pi)^2 a standardised 1 would lie at the waves' common period from 0."""
    has = np.zeros((10_000, 1))
    has[:64] = 1  # 0.64 %
    vectors = standardised("mine", {name: {"tags": has} for name in SPLITS})["report"]["tags"]
    embedding = VectorEmbedding(1, 8)
    for p in embedding.parameters():
        torch.nn.init.normal_(p)
    one, zero = embedding(torch.from_numpy(vectors[[0, 99]]), None)
    assert (one - zero).norm() > 0.1 * zero.norm()


def test_measures_of_a_bar():
    """A bar of 8 x 2 pixels has the standard deviations sqrt((n^2 - 1) / 12) of n equal steps."""
    image = np.zeros((1, 1, 16, 16), np.uint8)
    image[0, 0, 3:5, 4:12] = 80
    grey, width, height, lean = measures(image)[0]
    assert grey == pytest.approx(80 * 16 / 256)
    assert width == pytest.approx(np.sqrt(63 / 12)) and height == pytest.approx(0.5)
    assert lean == pytest.approx(0, abs=1e-12)
    diagonal = np.zeros((1, 1, 16, 16), np.uint8)
    diagonal[0, 0, np.arange(16), np.arange(16)] = 255
    assert measures(diagonal)[0, 3] == pytest.approx(1)


def test_batches_hold_the_numbers_of_their_images():
    images = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
    pose = np.arange(16, dtype=np.float32).reshape(8, 2)
    split = Split(images, {"label": np.zeros(8, np.int64)}, vectors={"pose": pose})
    data = Data(split, ("label", "pose"))
    rows = torch.tensor([5, 2])
    _, streams = data.take(rows, "cpu", torch.Generator())
    assert torch.equal(streams["pose"], torch.tensor([[10.0, 11.0], [4.0, 5.0]]))
    first, index = distinct(streams)  # equal labels, other numbers
    assert first.tolist() == [0, 1] and index.tolist() == [0, 1]
    assert np.array_equal(split.take(np.array([3])).vectors["pose"], [[6, 7]])


def test_lists_of_ids_are_no_labels(folder, caplog):
    root, rows = folder
    names = [f"id {i}" for i in range(MOST_LABELS + 1)]
    own = [names[i :: len(rows)] for i in range(len(rows))]
    write(root, [{**row, "tags": ids} for row, ids in zip(rows, own, strict=True)])
    assert "tags" not in load_dataset("folder", path=str(root), size=4).vectors
    assert "the key 'tags' is ignored: its lists have 513 different labels, more than 512" in (
        caplog.text
    )
