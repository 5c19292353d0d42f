"""What a source holds, listed before a picture is decoded: for sets that fit into no memory."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from cabench.data.dataset import Dataset, Digest
from cabench.errors import DataMissing

THREADS = min(8, os.cpu_count() or 1)  # that decode: Pillow lets go of the interpreter meanwhile
AHEAD = 4  # pictures decoded before they are asked for, by thread


@dataclass(frozen=True)
class Members:
    """The pictures of one split, not decoded; row i of each belongs to picture i."""

    names: Sequence[str]  # what messages call a picture: its path
    streams: dict[str, np.ndarray]  # as in Split
    texts: dict[str, list]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Catalogue:
    """A data set whose pictures are read one by one."""

    name: str
    licence: str
    classes: dict[str, list[str]]
    flip: bool
    # fmt: off
    shape: tuple[int, int, int]                     # C, H, W of every picture
    splits: dict[str, Members]                      # one per name in SPLITS
    read: Callable[[str, int], np.ndarray]          # split, row -> (C, H, W) uint8, or DataMissing
    key: str                                        # changes with any file that was listed
    # fmt: on

    def decoded(
        self, split: str, rows: Sequence[int] | None = None, threads: int = THREADS
    ) -> Iterator[np.ndarray | DataMissing]:
        """Pictures of a split in order; what doesn't decode is its error. Few are held at once."""
        rows = range(len(self.splits[split])) if rows is None else rows
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque = deque()
            for row in rows:
                waiting.append(pool.submit(self._try, split, row))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _try(self, split: str, row: int) -> np.ndarray | DataMissing:
        try:
            return self.read(split, row)
        except DataMissing as error:
            return error


Opener = Callable[..., Catalogue]
OPENERS: dict[str, Opener] = {}  # by source: those whose pictures are files of their own


def lists(source: str) -> Callable[[Opener], Opener]:
    """Registers how a source is listed; the function takes the source's options."""

    def add(opener: Opener) -> Opener:
        OPENERS[source] = opener
        return opener

    return add


def catalogue_of(dataset: Dataset) -> Catalogue:
    """Of a source that is loaded or memory-mapped as a whole."""
    parts = dataset.splits
    return Catalogue(
        name=dataset.name,
        licence=dataset.licence,
        classes=dataset.classes,
        flip=dataset.flip,
        shape=tuple(dataset.shape),
        splits={
            name: Members(Rows(name, len(part)), part.streams, part.texts)
            for name, part in parts.items()
        },
        read=lambda split, row: np.asarray(parts[split].images[row]),
        key=dataset.fingerprint,
    )


class Rows(Sequence):
    """'report 17': the names of pictures that are no files."""

    def __init__(self, split: str, count: int):
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> str:
        return f"{self.split} {row}"


@dataclass
class Checked:
    """What reading every picture showed."""

    damaged: dict[str, dict[int, str]]  # by split: row -> what is wrong
    digests: dict[str, str]  # by split: sha256 of the sound pictures in their order
    fingerprint: str | None  # of the data set as it is loaded; None when any is damaged

    @property
    def lines(self) -> list[str]:
        return [text for found in self.damaged.values() for text in found.values()]


def check(catalogue: Catalogue, done: Callable[[int], Any] = lambda count: None) -> Checked:
    """Reads every picture; `done` is told how many were."""
    damaged: dict[str, dict[int, str]] = {name: {} for name in catalogue.splits}
    digests, count = {}, 0
    whole = Digest(catalogue.classes)
    for name in catalogue.splits:
        part = catalogue.splits[name]
        whole.array(f"{name}/images", np.dtype(np.uint8), (len(part), *catalogue.shape))
        digest = hashlib.sha256()
        for row, found in enumerate(catalogue.decoded(name)):
            if isinstance(found, DataMissing):
                damaged[name][row] = str(found)
            else:
                found = np.ascontiguousarray(found)
                whole.update(found)
                digest.update(found)
            count += 1
            done(count)
        whole.rest(name, part.streams, part.texts)
        digests[name] = digest.hexdigest()
    sound = not any(damaged.values())
    return Checked(damaged, digests, whole.hexdigest() if sound else None)
