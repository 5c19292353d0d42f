"""The sample grid of a study with maps: real images, their maps, the samples."""

import dataclasses

import numpy as np

from cabench.data import load_dataset
from cabench.data.maps import edges
from cabench.execution.grids import write_samples
from cabench.execution.sampling import Samples
from cabench.metrics import SampleScorer
from cabench.records.sample_grid import read_grid
from cabench.records.schema import GridLayout


def test_each_sample_is_below_the_real_image_and_the_map_that_it_is_for(tmp_path):
    dataset = load_dataset("digits")
    splits = {
        name: dataclasses.replace(split, maps={"edges": edges(split.images)})
        for name, split in dataset.splits.items()
    }
    dataset = dataclasses.replace(dataset, splits=splits, fingerprint="")
    scorer = SampleScorer(dataset, 100, tmp_path, metrics=[])
    real = dataset.split("report").images[scorer.rows]
    samples = Samples(scorer, 255 - real, np.zeros((100, 1280), np.float32))
    layout = write_samples(tmp_path / "s.png", [samples], False, ["edges"])
    assert layout["maps"] == "edges" and layout["rows"] == 9
    cells = read_grid(tmp_path / "s.png", GridLayout.model_validate(layout))
    for label, column in enumerate(cells):
        shown, maps, drawn = np.split(column, 3)
        assert np.array_equal(shown, real[scorer.labels == label][:3])
        assert np.array_equal(maps, edges(shown)) and np.array_equal(drawn, 255 - shown)


def test_rows_show_the_styles_in_turn(tmp_path):
    dataset = load_dataset("digits")
    splits = {}
    for name, split in dataset.splits.items():
        styles = np.arange(len(split.images)) % 3
        painted = np.full_like(split.images, 0) + (60 * styles + 60)[:, None, None, None]
        streams = split.streams | {"style": styles}
        splits[name] = dataclasses.replace(split, images=painted.astype(np.uint8), streams=streams)
    classes = dataset.classes | {"style": ["flat", "round", "bold"]}
    dataset = dataclasses.replace(dataset, splits=splits, classes=classes, fingerprint="")
    scorer = SampleScorer(dataset, 200, tmp_path, metrics=[])
    images = dataset.split("report").images[scorer.rows]
    samples = Samples(scorer, images, np.zeros((200, 1280), np.float32))
    layout = write_samples(tmp_path / "s.png", [samples], prompts=False)
    assert layout["styles"] == ["flat", "round", "bold"]
    cells = read_grid(tmp_path / "s.png", GridLayout.model_validate(layout))
    shown = cells[:, :, 0, 0, 0]  # a grey value per column and row
    assert (shown[:, :3] == [60, 120, 180]).all()
    assert set(shown[:, 3]) <= {0, 60}  # the first style again, or none is left
