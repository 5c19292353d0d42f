"""Sample grids: the images that are written can be read back."""

import numpy as np

from cabench.records.sample_grid import LIMIT, ROWS, read_grid, write_grid


def test_a_grid_holds_the_first_samples_of_each_class(tmp_path):
    labels = np.array([2, 0, 1, 0, 2, 1, 1, 0, 2])
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 6), dtype=np.uint8)
    layout = write_grid(tmp_path / "s.png", images, labels, classes=4, rows=3)
    assert layout.dump() == {"rows": 3, "columns": 4, "height": 4, "width": 6}
    cells = read_grid(tmp_path / "s.png", layout)
    for c in range(3):
        assert np.array_equal(cells[c], images[labels == c])
    assert not cells[3].any()  # a class without samples stays black


def test_the_file_stays_small_even_for_coloured_noise(tmp_path):
    labels = np.arange(100) % 10
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
    layout = write_grid(tmp_path / "s.png", images, labels, classes=10)
    assert (tmp_path / "s.png").stat().st_size <= LIMIT
    assert 1 <= layout.rows < ROWS
    assert np.array_equal(read_grid(tmp_path / "s.png", layout)[3, 0], images[3])
