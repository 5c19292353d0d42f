"""Files on disk: atomic writes, JSON, CSV, hashes and content keys. Imports no torch."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError, is_machine_fault, shown
from cabench.runtime.printable import plain_cell

PART = ".cabench-part"  # suffix of files that are being written
LOG = logging.getLogger("cabench")


def content_key(*parts: Any) -> str:
    """16 hex digits of the sha256 of the parts' canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block succeeds."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
        part = Path(name)
        yield part
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:  # of a full disk has no file name
        if error.filename is not None and not str(error.filename).endswith(PART):
            raise  # about another file, which the block reads
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds.

    If another process creates `path` first, its folder is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        yield part
        os.chmod(part, 0o777 & ~_umask())
        try:
            part.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _umask() -> int:
    """The process's mask of permissions. It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def as_text(content: Any) -> str:
    """JSON as written to files; ValueError if a number is not finite."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def finite_or_none(value: float) -> float | None:
    """The number as JSON can hold it: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows atomically; the columns are all keys in the order of their first use.

    Texts that a spreadsheet would compute get an apostrophe.
    """
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=fields)
        writer.writerow({field: plain_cell(field) for field in fields})
        writer.writerows({field: plain_cell(cell) for field, cell in row.items()} for row in rows)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; ValueError if a number is not finite."""
    with atomic_path(path) as part:
        part.write_text(as_text(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The file's content; CabenchError if it cannot be read, as a pipe cannot.

    A fault of the machine, such as too many open files, is raised: the file may be intact.
    """
    try:
        if is_special(path):
            raise ValueError("not a regular file")
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        text = "nested too deeply"
    except (ValueError, OSError) as error:
        if is_machine_fault(error):
            raise
        text = str(error)
    raise CabenchError(f"{path} cannot be read ({text}); delete it to regenerate it")


def no_folder(path: Path) -> str | None:
    """Why `path` cannot be a folder: it, or what should hold it, is a file or a link to nothing."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            actual = f"a link to {shown(str(place.readlink()))}, which does not exist"
        elif place.exists() and not place.is_dir():
            actual = "a file"
        else:
            continue
        return f"expected a directory, but {shown(str(place))} is {actual}"
    return None


def is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device: opening it could block."""
    return path.exists() and not path.is_file() and not path.is_dir()


def file_hash(path: Path) -> str:
    """sha256 of a file's content."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
