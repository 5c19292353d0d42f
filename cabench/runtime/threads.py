"""Setup of a training process: one thread per trial, and freed memory that stays allocated."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # environment variable that glibc reads at startup

# Parameters of mallopt(3) in glibc
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
NEVER, LARGEST = -1, 2**30


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that parallel trials do not compete for cores."""
    import torch

    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def keep_memory() -> None:
    """Keep freed memory in this process until it ends, where the C library is glibc.

    By default glibc returns tensors of more than 32 MB, and free memory at the end of the heap, to
    the system, and the next step gets zeroed pages again: a training step of CAN at S/2 takes 1.4
    times as long (benchmarks/README.md). No number changes. In threads other than the first this
    works only if the process started with ONE_ARENA.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, NEVER)
        mallopt(MMAP_THRESHOLD, LARGEST)
