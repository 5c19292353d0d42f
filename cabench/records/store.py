"""Truth on disk: content keys, atomic files, records, manifests. No torch in here.

results/records/KEY.json          what one trial measured; beside it KEY.curves.json, KEY.png (its
                                  samples), KEY.near.png (those nearest to training pictures)
results/STUDY.SCALE/manifest.json what a study asked for: arms, seeds, keys
.cabench/                         the cache: training runs, samples, features, locks

A record holds its own checksum and those of the files beside it. A corrupted file
counts as absent: it is logged, and the next run regenerates it.
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

from cabench.runtime.files import LOG, PART, as_text, file_hash, read_json, write_json
from cabench.runtime.sealed import RUN_REGENERATES, is_valid, read_sealed, read_valid, seal

RECORD_LIMIT = 20_000  # bytes
CURVES, SHEET, NEAR = ".curves.json", ".png", ".near.png"  # end the names of files beside a record
STALE = 3600  # seconds
REFERENCE = Path("results/reference")  # what is committed; it counts only when asked for


@dataclass(frozen=True)
class Store:
    """Where results and the cache live."""

    results: Path
    cache: Path
    reference: Path | None = None  # committed results that may stand in for missing ones

    # -- records

    def record_path(self, key: str) -> Path:
        return self.results / "records" / f"{key}.json"

    def find(self, key: str, suffix: str = ".json") -> Path | None:
        """The record (or the file beside it) in results, else in the reference if that counts."""
        for root in (self.results, self.reference):
            if root is not None and (path := root / "records" / f"{key}{suffix}").exists():
                return path
        return None

    def record(self, key: str) -> dict[str, Any] | None:
        """The record, if it is there and whole."""
        path = self.find(key)
        return None if path is None else read_valid(path, read_sealed, remedy=RUN_REGENERATES)

    def sound(self, key: str) -> dict[str, Any] | None:
        """The record, if it and all the files beside it are whole."""
        record = self.record(key)
        for suffix in (record or {}).get("files", {}):
            if self.whole_beside(record, suffix) is None:
                return None
        return record

    def whole_beside(self, record: Mapping[str, Any], suffix: str) -> Path | None:
        """The file that was beside the record when that was written, if it is there and whole."""
        held = record.get("files", {}).get(suffix)
        if held is None:
            return None
        path = self.find(record["key"], suffix)
        if path is None:
            missing = self.beside(record["key"], suffix)
            LOG.warning("%s is missing; %s", missing, RUN_REGENERATES)
            return None
        valid = is_valid(path, lambda p: file_hash(p) == held, RUN_REGENERATES)
        return path if valid else None

    def curves(self, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The curves of those records that have whole ones, by key."""
        found = {key: self.whole_beside(record, CURVES) for key, record in records.items()}
        return {key: read_json(path) for key, path in found.items() if path is not None}

    def records(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        found = {key: self.record(key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def write_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Writes it, sealed; returns what was written.

        Raises ValueError, and writes nothing, when a number isn't finite or it is too large.
        """
        beside = {suffix: self.beside(record["key"], suffix) for suffix in (CURVES, SHEET, NEAR)}
        files = {suffix: file_hash(path) for suffix, path in beside.items() if path.exists()}
        sealed = seal({**record, "files": files})
        size = len(as_text(sealed))
        if size > RECORD_LIMIT:
            raise ValueError(f"the record has {size} bytes; the limit is {RECORD_LIMIT}")
        write_json(self.record_path(record["key"]), sealed)
        return sealed

    def beside(self, key: str, suffix: str) -> Path:
        return self.results / "records" / f"{key}{suffix}"

    # -- learning-rate searches

    def tuning(self, key: str) -> Path:
        return self.results / "tuning" / f"{key}.json"

    # -- what a run needs for itself, and killed ones leave

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder in the cache that is gone after the block; a lock in it says that it is used."""
        self.cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".scratch", dir=self.cache))
        try:
            with FileLock(folder / "lock"):
                yield folder.resolve()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes half-written files that nobody has touched for an hour, and unused scratch."""
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

    def samples(self, key: str) -> Path:
        return self.cache / "samples" / f"{key}.safetensors"

    def lock(self, name: str) -> FileLock:
        """A lock between processes; it dies with its holder."""
        folder = self.cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")
