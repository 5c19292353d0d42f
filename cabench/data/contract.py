"""What a data set must be: splits, types and sizes. A plugin's data set is checked when loaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cabench.data.dataset import Dataset, Split

LABEL = "label"  # that samples are drawn and scored by
Line = tuple[bool, str]  # whether it is as it must be, and what was seen


def fault(dataset: object) -> str | None:
    """The first way in which a data set is not as it must be, or None."""
    if not isinstance(dataset, Dataset):
        return f"expected a Dataset, got a {type(dataset).__name__}"
    return next((text for valid, text in lines(dataset) if not valid), None)


def lines(dataset: Dataset) -> Iterator[Line]:
    """What each split has, and whether that is as it must be."""
    for name, split in dataset.splits.items():
        yield from _images(dataset, name, split)
        if LABEL not in split.streams:
            text = "expected a stream 'label'; without classes, one class for all images"
            yield False, f"{name}: {text}"
        for stream, values in split.streams.items():
            yield from _labels(name, stream, values, len(dataset.classes.get(stream, ())), split)
        if absent := [stream for stream in dataset.classes if stream not in split.streams]:
            yield False, f"{name}: expected values of '{absent[0]}', which has classes; got none"
        for stream, texts in split.texts.items():
            text = f"{name}: {len(texts)} texts '{stream}', expected one per image"
            yield len(texts) == len(split), text
        for stream, numbers in split.vectors.items():
            fits = numbers.ndim == 2 and len(numbers) == len(split)
            finite = np.issubdtype(numbers.dtype, np.floating) and bool(np.isfinite(numbers).all())
            text = f"{name}: numbers '{stream}' {numbers.shape} {numbers.dtype}"
            yield fits and finite, f"{text}, expected (N, D), finite floats"
        for stream, maps in split.maps.items():
            images = split.images
            fits = maps.shape[::2] == images.shape[::2] and maps.shape[3:] == images.shape[3:]
            text = f"{name}: maps '{stream}' {maps.shape} {maps.dtype}"
            yield (
                maps.dtype == np.uint8 and maps.ndim == 4 and fits,
                f"{text}, expected images' N, H, W, uint8",
            )


def _images(dataset: Dataset, name: str, split: Split) -> Iterator[Line]:
    images = split.images
    valid = images.dtype == np.uint8 and images.ndim == 4 and len(images) > 0
    text = f"{name}: images {images.shape} {images.dtype}, expected (N, C, H, W) uint8"
    yield valid, text
    shape = dataset.splits["report"].images.shape[1:]
    if valid and images.shape[1:] != shape:
        yield False, f"{name}: images {images.shape}, expected the shape {shape} of 'report'"


def _labels(
    name: str, stream: str, values: np.ndarray, classes: int, split: Split
) -> Iterator[Line]:
    seen = f"{name}: {len(values)} values of '{stream}'"
    if not np.issubdtype(values.dtype, np.integer):
        yield False, f"{seen} of type {values.dtype}, expected whole numbers"
        return
    inside = bool(((values >= 0) & (values < classes)).all())
    text = f"{seen} below {classes} (its classes), expected one per image"
    yield values.shape == (len(split),) and inside, text
