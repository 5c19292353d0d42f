"""Pictures beside a record: samples, a column a class or a prompt; those nearest to copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cabench.data import load_dataset
from cabench.data.dataset import UNSEEN
from cabench.diffusion.training import whole
from cabench.metrics.scorer import REFERENCE, SampleScorer
from cabench.planning.data import DataRef
from cabench.planning.trials import Trial
from cabench.records.store import NEAR, SHEET, Store
from cabench.runtime.files import atomic_path

SHEET_ROWS = 8  # samples of each class
SHEET_LIMIT = 100_000  # bytes
SHEET_CLASSES, SHEET_SIDE = 20, 64  # at most so many columns, of pictures so many pixels wide
PROMPTS = {REFERENCE: 10, UNSEEN: 6}  # samples with their prompts, of a text study
PAIRS = 10  # samples that come nearest to training pictures, with these


def beside(trial: Trial, store: Store, scorers: list[SampleScorer]) -> dict[str, Any]:
    """The sheet of the primary samples beside the record; returns its layout."""
    path = store.beside(trial.key, SHEET)
    drawn = [primary(trial, store, scorer) for scorer in scorers]
    if "text" in trial.spec["train"]:
        return prompted(path, drawn, scorers)
    classes = len(scorers[0].dataset.classes["label"])
    return write_sheet(path, drawn[0], scorers[0].labels, classes)


def primary(trial: Trial, store: Store, scorer: SampleScorer) -> np.ndarray:
    """The saved samples (n, C, H, W) uint8 at the primary guidance."""
    path = store.samples(trial.sample_key(trial.spec["guidance"], scorer.reference))
    return whole(path)[0]["images"].numpy()


def prompted(path: Path, drawn: list[np.ndarray], scorers: list[SampleScorer]) -> dict[str, Any]:
    """A PNG with a column a prompt, the first of each split: a real picture, the sample below it.

    The layout holds the prompts, and which of them are of unseen concepts; large pictures are
    shrunk, so that the sheet stays below its limit whatever they show.
    """
    pictures, prompts, unseen = [], [], []
    for images, scorer in zip(drawn, scorers, strict=True):
        for i, row in enumerate(scorer.rows[: PROMPTS[scorer.reference]]):
            real = scorer.dataset.split(scorer.reference).images[row]
            pictures += [real, images[i]]
            prompts.append(scorer.prompts[i])
            unseen.append(scorer.reference == UNSEEN)
    columns = np.repeat(np.arange(len(prompts)), 2)
    layout = write_sheet(path, fitting(np.stack(pictures)), columns, len(prompts), rows=2)
    return layout | {"prompts": prompts, "unseen": unseen}


def fitting(images: np.ndarray) -> np.ndarray:
    """Pictures (n, C, H, W) uint8, halved until they take less than a sheet's limit unpacked."""
    while images.nbytes > 0.99 * SHEET_LIMIT and min(images.shape[2:]) > 1:
        n, c, h, w = images.shape
        even = images[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
        images = np.rint(even.mean((3, 5))).astype(np.uint8)
    return images


def neighbours(trial: Trial, store: Store, scorer: SampleScorer) -> dict[str, Any]:
    """How near the samples come to training pictures, and a PNG of the nearest above theirs."""
    images = primary(trial, store, scorer)
    found = scorer.neighbours(scorer.features(images)["1280"])
    first = np.argsort(found["distance"], kind="stable")[:PAIRS]
    trained = scorer.dataset.split("generator-train").images[found["index"][first]]
    both = np.concatenate([images[first], trained])
    rows = np.tile(np.arange(len(first)), 2)
    layout = write_sheet(store.beside(trial.key, NEAR), both, rows, len(first), 2)
    return {name: found[name] for name in ("memorised", "ratio", "of")} | {"sheet": layout}


def write_real(path: Path, data: DataRef) -> None:
    """The sheet of real pictures that a study's samples are shown beside."""
    dataset = load_dataset(data.source, **data.options)
    report = dataset.split("report")
    labels = report.streams["label"]
    write_sheet(path, report.images, labels, len(dataset.classes["label"]))


def write_sheet(
    path: Path, images: np.ndarray, labels: np.ndarray, classes: int, rows: int = SHEET_ROWS
) -> dict[str, int]:
    """A PNG with one column a class and as many rows as fit the limit; returns its layout.

    images (n, C, H, W) uint8, labels (n,); cells of a class that has too few stay black.
    """
    classes = min(classes, SHEET_CLASSES)
    chosen = [np.flatnonzero(labels == c)[:rows] for c in range(classes)]
    columns = [smaller(images[found]) for found in chosen]
    _, channels, height, width = columns[0].shape
    while True:
        cells = np.zeros((rows, classes, height, width, channels), np.uint8)
        for c in range(classes):
            found = columns[c][:rows].transpose(0, 2, 3, 1)
            cells[: len(found), c] = found
        sheet = cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, classes * width, channels)
        with atomic_path(path) as part:
            Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet).save(
                part, format="PNG", optimize=True
            )
            size = part.stat().st_size
        if size <= SHEET_LIMIT or rows == 1:
            return {"rows": rows, "columns": classes, "height": height, "width": width}
        rows = max(1, rows * SHEET_LIMIT // size)


def smaller(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) uint8, averaged over squares where they are wider than SHEET_SIDE."""
    n, channels, height, width = images.shape
    by = -(-max(height, width) // SHEET_SIDE)
    if by == 1:
        return images
    height, width = height // by, width // by
    squares = images[:, :, : height * by, : width * by].reshape(n, channels, height, by, width, by)
    return np.rint(squares.mean((3, 5), dtype=np.float64)).astype(np.uint8)
