"""Catalogues: data sets listed but not decoded, for those that do not fit into memory."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from cabench.data.dataset import Dataset, Digest, Shape, Split, Streams, Texts, Vectors
from cabench.errors import DataMissing

THREADS = min(8, os.cpu_count() or 1)  # that decode; Pillow releases the GIL
AHEAD = 4  # images decoded in advance, per thread


@dataclass(frozen=True)
class Members:
    """The images of one split, not decoded; row i of everything belongs to image i."""

    # fmt: off
    names: Sequence[str]    # N names for messages, such as paths
    streams: Streams        # stream -> (N,) int64
    texts: Texts            # name -> N texts, or N lists of texts
    vectors: Vectors = field(default_factory=dict)  # stream -> (N, D) float32
    # fmt: on

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class MapStream:
    """The maps of a stream, decoded one by one."""

    shape: Shape  # (C, H, W) of every map
    read: Callable[[str, int], np.ndarray]  # split, row -> (C, H, W) uint8, or DataMissing


@dataclass(frozen=True)
class Catalogue:
    """A data set whose images are decoded one by one."""

    # fmt: off
    name: str
    licence: str                              # of the images
    classes: dict[str, list[str]]             # stream -> class names by index
    flip: bool                                # whether mirrored images are in the distribution
    shape: Shape                              # (C, H, W) of every image
    splits: dict[str, Members]                # one per name in SPLITS, optionally UNSEEN
    read: Callable[[str, int], np.ndarray]    # split, row -> (C, H, W) uint8, or DataMissing
    key: str                                  # changes when a listed file changes
    notes: tuple[str, ...] = ()               # what was left out, and why
    problems: tuple[str, ...] = ()            # of files that cannot be listed; one line each
    upscales: Callable[[str, int], bool] | None = None  # split, row -> is the file's image smaller?
    maps: dict[str, MapStream] = field(default_factory=dict)    # by stream
    # fmt: on

    def decoded(
        self,
        split: str,
        rows: Sequence[int] | None = None,
        threads: int = THREADS,
        stream: str | None = None,
    ) -> Iterator[np.ndarray | DataMissing]:
        """The images of a split in order, (C, H, W) uint8; the error of each unreadable one.

        With `stream` its maps instead of the images. At most AHEAD images per thread are in
        memory.
        """
        read = self.read if stream is None else self.maps[stream].read
        rows = range(len(self.splits[split])) if rows is None else rows
        with ThreadPoolExecutor(threads) as pool:
            pending: deque[Future[np.ndarray | DataMissing]] = deque()
            for row in rows:
                pending.append(pool.submit(_try, read, split, row))
                if len(pending) > AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()


def _try(read: Callable[[str, int], np.ndarray], split: str, row: int) -> np.ndarray | DataMissing:
    try:
        return read(split, row)
    except DataMissing as error:
        return error


def require_valid(catalogue: Catalogue) -> None:
    """DataMissing names the first problem of a catalogue, if there are any."""
    if catalogue.problems:
        first, *others = catalogue.problems
        more = f" (and {len(others):,} more: `cabench data check` lists them)" if others else ""
        raise DataMissing(f"{catalogue.name}: {first}{more}")


def without_pixels(catalogue: Catalogue) -> Dataset:
    """The data set with black images, which take no memory: for checks of its conditions."""
    black = np.zeros(1, np.uint8)
    return Dataset(
        name=catalogue.name,
        licence=catalogue.licence,
        classes=catalogue.classes,
        flip=catalogue.flip,
        splits={
            name: Split(
                np.broadcast_to(black, (len(members), *catalogue.shape)),
                members.streams,
                members.texts,
                vectors=members.vectors,
                maps={
                    stream: np.broadcast_to(black, (len(members), *maps.shape))
                    for stream, maps in catalogue.maps.items()
                },
            )
            for name, members in catalogue.splits.items()
        },
        fingerprint=catalogue.key,
    )


def upscaled(catalogue: Catalogue) -> str | None:
    """A line about the images that are smaller than the catalogue's shape; None without any."""
    if catalogue.upscales is None:
        return None
    names = [
        members.names[row]
        for split, members in catalogue.splits.items()
        for row in range(len(members))
        if catalogue.upscales(split, row)
    ]
    if not names:
        return None
    _, height, width = catalogue.shape
    total = sum(map(len, catalogue.splits.values()))
    return (
        f"{len(names):,} of {total:,} images are smaller than {width}x{height} (width x height) "
        f"and are upscaled, such as {min(names)}"
    )


Opener = Callable[..., Catalogue]
OPENERS: dict[str, Opener] = {}  # data source -> its opener, where images are single files


def opener(source: str) -> Callable[[Opener], Opener]:
    """Decorator: the function opens the catalogue of `source`, given the source's options."""

    def add(function: Opener) -> Opener:
        OPENERS[source] = function
        return function

    return add


def catalogue_of(dataset: Dataset) -> Catalogue:
    """The catalogue of a data set that is loaded or memory-mapped as a whole."""
    return Catalogue(
        name=dataset.name,
        licence=dataset.licence,
        classes=dataset.classes,
        flip=dataset.flip,
        shape=dataset.shape,
        splits={
            name: Members(RowNames(name, len(split)), split.streams, split.texts, split.vectors)
            for name, split in dataset.splits.items()
        },
        read=lambda split, row: np.asarray(dataset.splits[split].images[row]),
        key=dataset.fingerprint,
        maps={
            stream: MapStream(
                shape, lambda split, row, s=stream: np.asarray(dataset.splits[split].maps[s][row])
            )
            for stream, shape in dataset.maps.items()
        },
    )


class RowNames(Sequence[str]):
    """Names of images that are not files: 'report 17'."""

    def __init__(self, split: str, length: int):
        self.split, self.length = split, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{self.split} {row}"


@dataclass
class CheckResult:
    """What reading every image found."""

    # fmt: off
    problems: tuple[str, ...]            # of the catalogue
    errors: dict[str, dict[int, str]]    # split -> row -> what is wrong with an image
    digests: dict[str, str]              # split -> sha256 of its readable images in order
    fingerprint: str | None              # of the data set as loaded; None if there are errors
    # fmt: on

    @property
    def lines(self) -> list[str]:
        """The problems and errors, one line each."""
        unreadable = [text for errors in self.errors.values() for text in errors.values()]
        return [*self.problems, *unreadable]


def check(catalogue: Catalogue, progress: Callable[[int], None] = lambda _: None) -> CheckResult:
    """Read every image; `progress` is called with the number read so far."""
    errors: dict[str, dict[int, str]] = {name: {} for name in catalogue.splits}
    digests, count = {}, 0
    total = Digest(catalogue.classes)
    for name, members in catalogue.splits.items():
        total.header(f"{name}/images", np.dtype(np.uint8), (len(members), *catalogue.shape))
        digest = hashlib.sha256()
        for row, image in enumerate(catalogue.decoded(name)):
            if isinstance(image, DataMissing):
                errors[name][row] = str(image)
            else:
                total.values(image)
                digest.update(np.ascontiguousarray(image).data)
            count += 1
            progress(count)
        total.conditions(name, members.streams, members.texts, members.vectors)
        for stream, maps in sorted(catalogue.maps.items()):
            total.header(f"{name}/{stream}", np.dtype(np.uint8), (len(members), *maps.shape))
            for row, values in enumerate(catalogue.decoded(name, stream=stream)):
                if isinstance(values, DataMissing):
                    errors[name].setdefault(row, str(values))
                else:
                    total.values(values)
        digests[name] = digest.hexdigest()
    problems = tuple(f"{catalogue.name}: {line}" for line in catalogue.problems)
    valid = not problems and not any(errors.values())
    return CheckResult(problems, errors, digests, total.hexdigest() if valid else None)
