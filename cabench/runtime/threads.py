"""How a process that trains is set up: one thread a trial, and memory that is kept."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # in the environment of glibc when it starts

# Of mallopt(3), glibc
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
NEVER, LARGEST = -1, 2**30


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, so that trials side by side don't wait for each other's cores."""
    import torch

    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def keep_memory() -> None:
    """Freed memory stays with this process until it ends, where the C library can be told so.

    glibc gives tensors of more than 32 MB, and what lies free at the heap's end, back to the
    system, which hands out zeroed pages anew in the next step: a training step of CAN at S/2 takes
    1.4 times as long (benchmarks/README.md). No number changes. In threads but the first it holds
    only where the process began with ONE_ARENA.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, NEVER)
        mallopt(MMAP_THRESHOLD, LARGEST)
