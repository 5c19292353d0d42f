"""Where results and the cache are on disk, and the records in them. Imports no torch.

results/records/KEY.json           what one trial measured. Beside it KEY.curves.json, KEY.png (its
                                   sample grid), KEY.near.png (samples nearest to training images)
results/STUDY.SCALE/manifest.json  what a run asks for: arms, seeds, keys
.cabench/                          the cache: training runs, samples, features, locks

A record holds its own checksum and those of the files beside it. A corrupted file counts as
absent: it is logged, and the next run regenerates it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cabench.errors import CabenchError
from cabench.records.reading import read_record
from cabench.records.schema import Record
from cabench.records.spec import TrialSpec
from cabench.runtime.bundled import bundled
from cabench.runtime.files import (
    LOG,
    PART,
    as_text,
    file_hash,
    no_folder,
    read_json,
    write_json,
)
from cabench.runtime.sealed import RUN_REGENERATES, is_valid, read_sealed, read_valid, seal

RECORD_LIMIT = 20_000  # bytes
CURVES, SHEET, NEAR = ".curves.json", ".png", ".near.png"  # end the names of files beside a record
RESULT_FOLDERS = ("records", "tuning")
CACHE_FOLDERS = ("compiled", "data", "judge", "locks", "samples", "text", "training")
STALE = 3600  # seconds
REFERENCE = "results/reference"  # the folder of the committed runs


def reference() -> Path:
    """The committed runs: those of the working directory, else those that come with cabench."""
    here = Path(REFERENCE)
    return here if here.is_dir() else bundled(REFERENCE)


@dataclass(frozen=True)
class Store:
    """Where results and the cache live."""

    results: Path
    cache: Path
    reference: Path | None = None  # committed results that stand in for missing ones

    # -- records

    def record_path(self, key: str) -> Path:
        return self.results / "records" / f"{key}.json"

    def find(self, key: str, suffix: str = ".json") -> Path | None:
        """The record, or the file beside it: in results, else in the reference if there is one."""
        for root in (self.results, self.reference):
            if root is not None and (path := root / "records" / f"{key}{suffix}").exists():
                return path
        return None

    def record(self, key: str) -> Record | None:
        """The record, or None if it is absent, corrupted or that of another trial.

        Raises CabenchError if it is intact and of another format.
        """
        path = self.find(key)
        if path is None:
            return None
        content = read_valid(path, read_sealed, remedy=RUN_REGENERATES)
        if content is None:
            return None
        record = read_record(content, path)
        if record.key != key:
            LOG.warning("%s is the record of %s; %s", path, record.key, RUN_REGENERATES)
            return None
        return record

    def sound(self, key: str) -> Record | None:
        """The record, or None unless it and all the files beside it are intact."""
        record = self.record(key)
        if record is None or any(self.whole_beside(record, s) is None for s in record.files):
            return None
        return record

    def whole_beside(self, record: Record, suffix: str) -> Path | None:
        """The file that was written beside the record, or None if it is missing or corrupted."""
        sha256 = record.files.get(suffix)
        if sha256 is None:
            return None
        path = self.find(record.key, suffix)
        if path is None:
            missing = self.beside(record.key, suffix)
            LOG.warning("%s is missing; %s", missing, RUN_REGENERATES)
            return None
        valid = is_valid(path, lambda p: file_hash(p) == sha256, RUN_REGENERATES)
        return path if valid else None

    def curves(self, records: Mapping[str, Record]) -> dict[str, Any]:
        """The curves of the records that have intact ones, by key."""
        paths = {key: self.whole_beside(record, CURVES) for key, record in records.items()}
        return {key: read_json(path) for key, path in paths.items() if path is not None}

    def records(self, keys: list[str]) -> dict[str, Record]:
        """The records that exist, by key."""
        records = {key: self.record(key) for key in keys}
        return {key: record for key, record in records.items() if record is not None}

    def write_record(self, content: Mapping[str, Any]) -> Record:
        """Write a record with its checksums and return it.

        Raises ValueError, and writes nothing, if a number is not finite or the record is too large.
        """
        beside = {suffix: self.beside(content["key"], suffix) for suffix in (CURVES, SHEET, NEAR)}
        files = {suffix: file_hash(path) for suffix, path in beside.items() if path.exists()}
        sealed = seal({**content, "files": files})
        size = len(as_text(sealed))
        if size > RECORD_LIMIT:
            raise ValueError(f"the record has {size} bytes; the limit is {RECORD_LIMIT}")
        path = self.record_path(content["key"])
        record = read_record(sealed, path)
        write_json(path, sealed)
        return record

    def beside(self, key: str, suffix: str) -> Path:
        return self.results / "records" / f"{key}{suffix}"

    # -- learning-rate searches

    def tuning(self, key: str) -> Path:
        return self.results / "tuning" / f"{key}.json"

    def find_tuning(self, key: str) -> Path:
        """The file to read: in results, else in the reference if it is there."""
        path = self.tuning(key)
        if self.reference is None or path.exists():
            return path
        return self.reference / "tuning" / path.name

    # -- scratch directories, and what killed runs leave

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A directory in the cache for the block, with a lock that shows that it is in use."""
        self.cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".scratch", dir=self.cache))
        try:
            with FileLock(folder / "lock"):
                yield folder.resolve()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def check_folders(self) -> None:
        """CabenchError names what cannot be the folder that it should be."""
        for root, folders in ((self.results, RESULT_FOLDERS), (self.cache, CACHE_FOLDERS)):
            for name in folders:
                if (problem := no_folder(root / name)) is not None:
                    raise CabenchError(problem)

    def sweep(self) -> None:
        """Remove partial files that are older than an hour, and scratch directories not in use."""
        results = (f"{folder}/.*{PART}" for folder in ("records", "tuning", "*.*"))
        cache = (f"{folder}/.*{PART}" for folder in ("judge", "samples", "training/*"))
        for root, patterns in ((self.results, results), (self.cache, cache)):
            for part in (p for pattern in patterns for p in root.glob(pattern)):
                with contextlib.suppress(OSError):
                    if time.time() - part.stat().st_mtime > STALE:
                        part.unlink()
        for folder in self.cache.glob("*.scratch"):
            with contextlib.suppress(Timeout, OSError), FileLock(folder / "lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)

    # -- studies

    def study_folder(self, study: str, scale: str) -> Path:
        return self.results / f"{study}.{scale}"

    # -- cache

    def training(self, key: str) -> Path:
        return self.cache / "training" / key

    def checkpoint(self, spec: TrialSpec) -> Path:
        """The file of a trial's trained network; it may be absent."""
        return self.cache / spec.checkpoint

    def samples(self, key: str) -> Path:
        return self.cache / "samples" / f"{key}.safetensors"

    def lock(self, name: str) -> FileLock:
        """A lock between processes; it is released when its holder ends."""
        folder = self.cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")
