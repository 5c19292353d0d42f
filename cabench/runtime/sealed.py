"""Files that are verified when they are read, and regenerated when they are corrupted.

Everything that cabench writes can be computed again. A file that fails its check counts as absent:
one line in the log `cabench` names it, and the caller regenerates it.

is_valid, read_valid, load_or_make   any file or directory, given its check or reader
cached_file, cached_arrays           written once for all processes; the sha256 is in PATH.sha256
changed_files                        those of a data set that have another sha256 than when written
seal, read_sealed                    JSON documents that hold their own sha256 as `checksum`
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cabench.errors import CabenchError, is_machine_fault
from cabench.runtime.files import LOG, atomic_path, file_hash, is_special, read_json

if TYPE_CHECKING:  # shell completion reads records and must stay fast
    import numpy as np

T = TypeVar("T")

REGENERATED = "regenerated"
HASH_THREADS = min(8, os.cpu_count() or 1)
RUN_REGENERATES = "`cabench run` regenerates it"  # for commands that only read


class Corrupted(CabenchError):
    """A file's content does not match its checksum."""


def is_valid(path: Path, check: Callable[[Path], bool], remedy: str = REGENERATED) -> bool:
    """Whether `path` exists and passes `check`; a file that fails it is logged."""
    if not path.exists():
        return False
    if not is_special(path) and check(path):
        return True
    LOG.warning("%s is corrupted; %s", path, remedy)
    return False


def read_valid(
    path: Path,
    read: Callable[[Path], T],
    errors: tuple[type[Exception], ...] = (),
    remedy: str = REGENERATED,
) -> T | None:
    """What `read` returns; None if `path` is absent or, which is logged, corrupted.

    A file is corrupted if `read` raises one of `errors`, or an error of unreadable content:
    CabenchError, ValueError, KeyError, TypeError, RecursionError. A fault of the machine is raised.
    """
    if not path.exists():
        return None
    try:
        if is_special(path):
            raise Corrupted(f"{path} is not a regular file")
        return read(path)
    except (CabenchError, ValueError, KeyError, TypeError, RecursionError, *errors) as error:
        if is_machine_fault(error):  # the file may be intact
            raise
        LOG.warning("%s is corrupted; %s", path, remedy)
        return None


def load_or_make(
    path: Path,
    read: Callable[[Path], T],
    make: Callable[[Path], None],
    errors: tuple[type[Exception], ...] = (),
) -> T:
    """What `read` returns of `path`, which `make` creates if it is absent or corrupted."""
    value = read_valid(path, read, errors)
    if value is not None:
        return value
    if path.is_dir():
        shutil.rmtree(path)
    make(path)
    return read(path)


# -- files with their sha256 beside them


def cached_file(path: Path, write: Callable[[Path], None]) -> Path:
    """`path`, written by `write(temporary path)` if it is absent or corrupted.

    Only one process writes; the others wait for it.
    """
    if _matches_sha256(path):
        return path
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not is_valid(path, _matches_sha256):
            with atomic_path(path) as temporary:
                write(temporary)
                with atomic_path(_sha256_path(path)) as sidecar:
                    sidecar.write_text(file_hash(temporary))
    return path


def is_being_written(path: Path) -> bool:
    """Whether a process is writing this `cached_file`."""
    from filelock import FileLock, Timeout

    lock = Path(f"{path}.lock")
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def cached_arrays(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in the .npz file `path`, created if it is absent or corrupted; never unpickles."""
    import numpy as np

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as f:  # np.savez would add a suffix to a path
            np.savez(f, **make())  # pyright: ignore[reportArgumentType]  # any name is a keyword

    with np.load(cached_file(path, write), allow_pickle=False) as arrays:
        return dict(arrays)


def changed_files(folder: Path, hashes: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each file of `folder` whose sha256 is not the one in `hashes`, by name.

    A process reads a file again only when its size or time of change differs: they may be large.
    """

    def problem(name: str) -> str | None:
        path = folder / name
        try:
            facts = path.stat()
        except OSError as error:
            return error.strerror or str(error)
        if not path.is_file():
            return "not a regular file"
        actual = _hash_of(path.absolute(), facts.st_size, facts.st_mtime_ns)
        expected = hashes[name]
        same = actual == expected
        return None if same else f"expected sha256 {expected[:12]}, got {actual[:12]}"

    with ThreadPoolExecutor(HASH_THREADS) as pool:  # hashing releases the GIL
        problems = dict(zip(hashes, pool.map(problem, hashes), strict=True))
    return {name: text for name, text in problems.items() if text is not None}


@functools.lru_cache(maxsize=10_000)
def _hash_of(path: Path, size: int, changed_ns: int) -> str:
    return file_hash(path)


def _sha256_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _matches_sha256(path: Path) -> bool:
    sidecar = _sha256_path(path)
    return path.is_file() and sidecar.is_file() and sidecar.read_bytes() == file_hash(path).encode()


# -- JSON documents with a checksum of their own


def checksum(document: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of a document without its field `checksum`."""
    rest = {name: value for name, value in document.items() if name != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its `checksum`; ValueError if a number is not finite."""
    return {**document, "checksum": checksum(document)}


def read_sealed(path: Path) -> dict[str, Any]:
    """The JSON document at `path`; Corrupted if its checksum does not match."""
    document = read_json(path)
    if document["checksum"] != checksum(document):
        raise Corrupted(f"{path} is corrupted")
    return document
