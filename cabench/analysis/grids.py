"""Sample grids from beside the records, arranged: the same seed, labels and noise for every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cabench.evidence.results import Results
from cabench.records.sample_grid import read_grid
from cabench.records.schema import GridLayout, Record
from cabench.records.store import SHEET, Store
from cabench.runtime.sealed import RUN_REGENERATES, read_valid


@dataclass(frozen=True)
class Grids:
    """Images (columns, rows, C, H, W) uint8 of one seed; a column is a class or a prompt."""

    # fmt: off
    seed: int
    samples: dict[str, np.ndarray]         # by arm, in the study's order
    real: np.ndarray | None                # real images of the same classes or prompts
    columns: Sequence[str]                 # the classes or prompts
    unseen: Sequence[bool] | None = None   # of prompts: concept unseen in training; None: classes
    maps: tuple[str, np.ndarray] | None = None  # a stream and its maps of the real images
    styles: Sequence[str] = ()             # the style of each row; () where data have no styles
    # fmt: on


def sample_grids(results: Results, store: Store) -> Grids | None:
    """The grids of the seed that the most arms have, the first of such seeds; None without any."""
    records = {
        (t.arm, t.seed): results.records[t.key]
        for t in results.manifest.trials
        if t.key in results.records
    }
    seed, samples = -1, {}
    for other in results.manifest.seeds:
        images = {arm: _images(records.get((arm, other)), store) for arm in results.arms}
        intact = {arm: grid for arm, grid in images.items() if grid is not None}
        if len(intact) > len(samples):
            seed, samples = other, intact
        if len(samples) == len(results.arms):
            break
    if not samples:
        return None
    record = records[next(iter(samples)), seed]
    layout = _layout(record)
    if layout.prompts is not None:  # real images in the first row, samples below them
        real = next(iter(samples.values()))[:, :1]
        samples = {arm: images[:, 1:] for arm, images in samples.items()}
        return Grids(seed, samples, real, layout.prompts, layout.unseen)
    columns = len(next(iter(samples.values())))  # of many classes, a grid has the first
    names = results.manifest.classes["label"][:columns]
    if layout.maps is not None:
        parts = {arm: np.split(images, 3, axis=1) for arm, images in samples.items()}
        real, maps, _ = next(iter(parts.values()))
        samples = {arm: images for arm, (_, _, images) in parts.items()}
        return Grids(seed, samples, real, names, maps=(layout.maps, maps))
    styles = layout.styles or ()
    rows = [styles[i % len(styles)] for i in range(layout.rows)] if styles else ()
    return Grids(seed, samples, _real_images(record, store), names, styles=rows)


def _layout(record: Record) -> GridLayout:
    assert record.protocol is not None  # of a complete record
    return record.protocol.sheet


def _images(record: Record | None, store: Store) -> np.ndarray | None:
    """A complete record's grid; None where it is missing or corrupted."""
    if record is None or not record.complete:
        return None
    path = store.whole_beside(record, SHEET)
    return None if path is None else read_grid(path, _layout(record))


def _real_images(record: Record, store: Store) -> np.ndarray | None:
    """The grid of real images of the record's data set; None where it is missing or corrupted."""
    path = store.find(f"data-{str(record.spec.train.data.fingerprint)[:16]}", SHEET)
    if path is None:
        return None
    layout = _layout(record)  # no record has the file's checksum
    return read_valid(path, lambda p: read_grid(p, layout), remedy=RUN_REGENERATES)
