"""Files on disk: atomic writes, JSON and CSV, checksums and content keys. Imports no torch."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError

PART = ".cabench-part"  # ends the names of files that are being written
LOG = logging.getLogger("cabench")


def content_key(*parts: Any) -> str:
    """16 hex digits that name the content: the sha256 of canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
        part = Path(name)
        yield part
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:  # a full disk doesn't say which file
        if error.filename is not None and not str(error.filename).endswith(PART):
            raise  # of another file, which the block needs
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def as_text(content: Any) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows under all the keys that any of them has, in the order of their first use; atomic."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=fields)
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    with atomic_path(path) as part:
        part.write_text(as_text(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The file's content; a CabenchError names a file that isn't whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CabenchError(f"{path} can't be read ({error}); delete it to have it redone") from None


def file_hash(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
