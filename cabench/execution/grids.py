"""The images beside a record: a sample grid, and the samples nearest to training images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data import load_dataset
from cabench.data.dataset import UNSEEN, Dataset
from cabench.execution.sampling import Samples
from cabench.metrics.scorer import REFERENCE
from cabench.planning.data import DataRef
from cabench.records.sample_grid import COLUMNS, LIMIT, ROWS, write_grid
from cabench.records.schema import GridLayout

PROMPTS = {REFERENCE: 10, UNSEEN: 6}  # columns of a text study's grid, by split
STYLE = "style"  # the stream that a grid of samples shows beside the label
MAPPED = 3  # samples of each class in the grid of a study with maps
PAIRS = 10  # of samples and their nearest training images


def write_samples(
    path: Path, splits: list[Samples], prompts: bool, maps: Collection[str] = ()
) -> dict[str, Any]:
    """Write the grid of the primary samples; return its layout.

    `prompts`: of a text study; `maps`: streams of the condition that are maps.
    """
    if prompts:
        return _write_prompted(path, splits)
    samples = splits[0]
    if maps:
        return _write_mapped(path, samples, min(maps))
    scorer = samples.scorer
    conditions = scorer.conditions | {"label": scorer.labels}
    return _write_classes(path, scorer.dataset, samples.images, conditions).dump()


def _write_classes(
    path: Path, dataset: Dataset, images: np.ndarray, conditions: Mapping[str, np.ndarray]
) -> GridLayout:
    """Write a column per label; where the data have styles, each in the rows in turn."""
    labels, classes = conditions["label"], len(dataset.classes["label"])
    if STYLE not in dataset.classes:
        return write_grid(path, images, labels, classes)
    styles, classes = dataset.classes[STYLE], min(classes, COLUMNS)
    cells = np.zeros((classes, ROWS, *images.shape[1:]), np.uint8)  # black without an image
    for c in range(classes):
        for s in range(len(styles)):
            chosen = np.flatnonzero((labels == c) & (conditions[STYLE] == s))
            rows = cells[c, s :: len(styles)]
            rows[: len(chosen)] = images[chosen[: len(rows)]]
    flat = cells.reshape(-1, *images.shape[1:])
    layout = write_grid(path, flat, np.repeat(np.arange(classes), ROWS), classes)
    return layout.model_copy(update={"styles": tuple(styles)})


def _write_prompted(path: Path, splits: list[Samples]) -> dict[str, Any]:
    """Write a column per prompt, the first ones of each split: a real image, the sample below it.

    The layout holds the prompts and whether each is of an unseen concept.
    """
    images, prompts, unseen = [], [], []
    for samples in splits:
        scorer = samples.scorer
        real = scorer.dataset.split(scorer.reference).images
        for i, row in enumerate(scorer.rows[: PROMPTS[scorer.reference]]):
            images += [real[row], samples.images[i]]
            prompts.append(scorer.prompts[i])
            unseen.append(scorer.reference == UNSEEN)
    columns = np.repeat(np.arange(len(prompts)), 2)
    layout = write_grid(path, halved_to_fit(np.stack(images)), columns, len(prompts), rows=2)
    return layout.dump() | {"prompts": prompts, "unseen": unseen}


def _write_mapped(path: Path, samples: Samples, stream: str) -> dict[str, Any]:
    """Write a column per class: real images, their maps of a stream, and the samples for these."""
    scorer = samples.scorer
    real = scorer.dataset.split(scorer.reference).images
    columns = min(len(scorer.dataset.classes["label"]), COLUMNS)
    cells = np.zeros((columns, 3, MAPPED, *real.shape[1:]), np.uint8)
    for c in range(columns):
        first = np.flatnonzero(scorer.labels == c)[:MAPPED]
        images = real[scorer.rows[first]]
        blocks = (images, _like(scorer.maps(stream, first), images), samples.images[first])
        for cell, block in zip(cells[c], blocks, strict=True):
            cell[: len(first)] = block
    images = halved_to_fit(cells.reshape(-1, *real.shape[1:]))
    labels = np.repeat(np.arange(columns), 3 * MAPPED)
    return write_grid(path, images, labels, columns, rows=3 * MAPPED).dump() | {"maps": stream}


def _like(maps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Maps (n, C, H, W) with as many channels as the images: repeated, or their mean; opaque."""
    if maps.shape[1] == images.shape[1]:
        return maps
    grey = np.rint(maps.mean(axis=1, keepdims=True)).astype(np.uint8)
    like = np.repeat(grey, images.shape[1], axis=1)
    like[:, 3:] = 255
    return like


def halved_to_fit(images: np.ndarray) -> np.ndarray:
    """Images (n, C, H, W) uint8, halved until their uncompressed size fits a grid's limit."""
    while images.nbytes > 0.99 * LIMIT and min(images.shape[2:]) > 1:
        n, c, h, w = images.shape
        even = images[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
        images = np.rint(even.mean((3, 5))).astype(np.uint8)
    return images


def write_nearest(path: Path, samples: Samples) -> dict[str, Any]:
    """Writes the samples nearest to training images, each above its nearest training image.

    Returns how near all samples are, and the grid's layout.
    """
    scorer = samples.scorer
    result = scorer.neighbours(samples.features)
    first = np.argsort(result.distance, kind="stable")[:PAIRS]
    trained = scorer.dataset.split("generator-train").images[result.index[first]]
    images = np.concatenate([samples.images[first], trained])
    columns = np.tile(np.arange(len(first)), 2)
    layout = write_grid(path, images, columns, len(first), rows=2)
    near = {"memorised": result.memorised, "ratio": result.ratio, "of": result.of}
    return near | {"sheet": layout.dump()}


def write_real(path: Path, data: DataRef) -> None:
    """Write the grid of real images that a study's samples are shown beside."""
    dataset = load_dataset(data.source, **data.options)
    report = dataset.split("report")
    _write_classes(path, dataset, report.images, report.streams)
