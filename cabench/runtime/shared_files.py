"""Files made once and shared by processes: a lock, a temporary file, an atomic rename.

A `.sha256` beside each tells a damaged one, which is then named in the log and made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cabench.runtime.files import LOG, atomic_path, file_hash

Arrays = dict[str, np.ndarray]


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, written by `make(temporary)` if it is absent; whoever comes second waits for it."""
    if _whole(path):
        return path
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not _whole(path):
            if path.exists() and _seal(path).exists():
                LOG.warning("%s is damaged: made again", path)
            with atomic_path(path) as temporary:
                make(temporary)
                with atomic_path(_seal(path)) as seal:
                    seal.write_text(file_hash(temporary))
    return path


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _whole(path: Path) -> bool:
    return path.exists() and _seal(path).exists() and _seal(path).read_text() == file_hash(path)


def arrays_once(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in the .npz at `path` (no pickles), made if absent."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as f:  # given a name, savez would add a suffix to it
            np.savez(f, **make())

    with np.load(once(path, write), allow_pickle=False) as arrays:
        return dict(arrays)
