"""The default directories, and the cache of the command that runs, where data sets are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

CACHE = Path(".cabench")  # of every command without --cache
RESULTS = Path("results")  # of every command without --results
_cache = ContextVar("cache", default=CACHE)


@contextmanager
def cache_at(path: Path) -> Iterator[None]:
    """In the block data sets are decoded and downloaded into `path`."""
    token = _cache.set(path)
    try:
        yield
    finally:
        _cache.reset(token)


def data_folder() -> Path:
    """Where data sets are decoded and downloaded: `data` in the cache."""
    return _cache.get() / "data"


def downloads() -> list[Path]:
    """Where downloaded data sets are looked for: in the cache, then in the default one."""
    return list(dict.fromkeys([data_folder(), CACHE / "data"]))
