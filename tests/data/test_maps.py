"""Maps: edges, maps in a folder, and batches."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cabench.data import SPLITS, load_dataset, open_catalogue
from cabench.data.catalogue import check
from cabench.data.dataset import Split
from cabench.data.maps import edges
from cabench.diffusion.batches import Data
from cabench.errors import DataMissing


def test_edges_of_a_step_are_beside_it_and_no_image_affects_another():
    image = np.zeros((1, 1, 6, 8), np.uint8)
    image[..., 4:] = 100  # 4 * 100 of Sobel's sum, above 306
    mark = edges(image)
    assert np.array_equal(np.flatnonzero(mark[0, 0, 2]), [3, 4]) and set(mark.flat) == {0, 255}
    assert not edges(image // 2).any()
    assert np.array_equal(edges(np.repeat(image, 3, axis=1)), mark)
    assert np.array_equal(edges(np.concatenate([image, 0 * image]))[1:], 0 * mark)
    assert np.array_equal(edges(image.swapaxes(2, 3)), mark.swapaxes(2, 3))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of 16x12 in colour whose maps, in a folder of their own, are their red."""
    monkeypatch.chdir(tmp_path)
    root, rows = tmp_path / "images", []
    for i in range(60):
        image = np.random.default_rng(i).integers(0, 256, (12, 16, 3)).astype(np.uint8)
        for name, pixels in ((f"{i % 2}/{i}.png", image), (f"edges/{i}.png", image[:, :, 0])):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)
        rows.append({"file_name": f"{i % 2}/{i}.png", "edges_file_name": f"edges/{i}.png"})
    return root, rows


def load(root, rows):
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load_dataset("folder", path=str(root), size=12, held_out=0.25)


def test_maps_of_a_folder_are_cut_like_their_image(folder):
    root, rows = folder
    dataset = load(root, rows)
    assert dataset.maps == {"edges": (1, 12, 12)} and dataset.classes == {"label": ["0", "1"]}
    for name in SPLITS:
        split = dataset.split(name)
        assert np.array_equal(split.maps["edges"], split.images[:, :1])
    result = check(open_catalogue("folder", path=str(root), size=12, held_out=0.25))
    assert result.fingerprint == dataset.fingerprint and not result.lines
    Image.new("L", (16, 12), 7).save(root / "edges/0.png")
    assert load(root, rows).fingerprint != dataset.fingerprint


def test_values_of_a_larger_map_are_not_mixed(folder):
    root, rows = folder
    checks = np.indices((24, 32)).sum(0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(root / "edges/0.png")
    Image.fromarray(np.full((12, 16, 3), 9, np.uint8)).save(root / "0/0.png")
    dataset = load(root, rows)
    (values,) = (
        part.maps["edges"][row]
        for part in dataset.splits.values()
        for row in np.flatnonzero((part.images == 9).all((1, 2, 3)))
    )
    assert set(values.flat) <= {0, 255}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"edges_file_name": "edges/99.png"}, ":1: edges_file_name: no such image: edges/99.png"),
        ({"edges_file_name": None}, ":1: the key 'edges_file_name' is missing"),
    ],
)
def test_a_row_without_its_map_is_named(folder, change, text):
    root, rows = folder
    with pytest.raises(DataMissing, match=text):
        load(root, [rows[0] | change, *rows[1:]])


@pytest.mark.parametrize(
    ("mode", "size", "text"),
    [
        ("RGB", (16, 12), "edges/7.png: expected a grey map, as .*edges/0.png is, got colour"),
        ("L", (16, 16), "edges/7.png: expected the proportions of its image, 16x12 pixels, got 16"),
    ],
)
def test_a_map_unlike_its_image_is_named(folder, mode, size, text):
    root, rows = folder
    Image.new(mode, size).save(root / "edges/7.png")
    with pytest.raises(DataMissing, match=text):
        load(root, rows)


def test_check_lists_damaged_images_and_missing_maps(folder):
    root, rows = folder
    load(root, rows)
    (root / "1/9.png").write_bytes(b"")
    (root / "edges/4.png").unlink()
    result = check(open_catalogue("folder", path=str(root), size=12, held_out=0.25))
    assert result.fingerprint is None
    assert any("1/9.png cannot be read as an image" in line for line in result.lines)
    assert any("edges/4.png" in line for line in result.problems)
    assert any("0/4.png: its map is missing" in line for line in result.lines)


def test_a_key_that_names_no_files_is_ignored_with_a_reason(folder, caplog):
    root, rows = folder
    rows = [row | {"label_file_name": "x.png", "depth_file_name": 3} for row in rows]
    assert set(load(root, rows).maps) == {"edges"}
    assert "'label_file_name' is ignored: there is another stream 'label'" in caplog.text
    assert "'depth_file_name' is ignored: expected the name of a file, got 3" in caplog.text


def test_maps_in_batches_are_mirrored_with_their_images():
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4)).astype(np.uint8)
    split = Split(images, {"label": np.zeros(6, np.int64)}, maps={"same": images})
    data = Data(split.take(np.array([5, 1, 3])), ("label", "same"))
    rows, flip = torch.tensor([2, 0]), torch.tensor([True, False])
    x, streams = data.take(rows, "cpu", torch.Generator(), flip)
    assert torch.equal(streams["same"], x)
    expected = torch.from_numpy(images[[3, 5]]).float() / 127.5 - 1
    assert torch.equal(x[0], expected[0].flip(2)) and torch.equal(x[1], expected[1])
