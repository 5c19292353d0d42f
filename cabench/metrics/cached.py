"""Files made once and shared by processes: a lock, a temporary file, an atomic rename."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, written by `make(temporary)` if it is absent; whoever comes second waits for it."""
    if path.exists():
        return path
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp{path.suffix}")
            try:
                make(temporary)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    return path


def arrays_once(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in the .npz at `path` (no pickles), made if absent, remade if broken."""

    def write(temporary: Path) -> None:
        np.savez(temporary, **make())

    try:
        return _read(once(path, write))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        return _read(once(path, write))


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
