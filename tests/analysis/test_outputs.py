"""Sample sheets: what is beside a record is what was drawn."""

import numpy as np

from cabench.analysis.grids import read_sheet
from cabench.execution.grids import SHEET_LIMIT, SHEET_ROWS, write_sheet


def test_a_sheet_holds_the_first_samples_of_each_class(tmp_path):
    labels = np.array([2, 0, 1, 0, 2, 1, 1, 0, 2])
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 6), dtype=np.uint8)
    layout = write_sheet(tmp_path / "s.png", images, labels, classes=4, rows=3)
    assert layout == {"rows": 3, "columns": 4, "height": 4, "width": 6}
    found = read_sheet(tmp_path / "s.png", layout)
    for c in range(3):
        assert np.array_equal(found[c], images[labels == c])
    assert not found[3].any()  # a class without samples stays black


def test_a_sheet_stays_small_even_of_coloured_noise(tmp_path):
    labels = np.arange(100) % 10
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
    layout = write_sheet(tmp_path / "s.png", images, labels, classes=10)
    assert (tmp_path / "s.png").stat().st_size <= SHEET_LIMIT
    assert 1 <= layout["rows"] < SHEET_ROWS
    assert np.array_equal(read_sheet(tmp_path / "s.png", layout)[3, 0], images[3])
