"""Figures drawn in other processes: drawing is most of a report's time."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cabench.analysis.figures.style import SCREEN, Look
from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.runtime.devices import cores
from cabench.runtime.signals import STOPPING

Draw = Callable[[Path, Results, Look], list[Path]]
MOST = 8  # processes: there are about as many figures


class Submit(Protocol):
    """Start to draw a figure of the results."""

    def __call__(self, draw: Draw, path: Path, look: Look = SCREEN) -> Future[list[Path]]: ...


@contextmanager
def in_processes(results: Results) -> Iterator[Submit]:
    """What starts to draw figures of `results` in other processes and returns their files later.

    On Linux they are forks, which have imported everything and hold the results. Elsewhere a fork
    may hang in the system's libraries, so they start afresh. Raises CabenchError if one is killed.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(min(cores(), MOST), context, initializer=_begin, initargs=(results,))

    def submit(draw: Draw, path: Path, look: Look = SCREEN) -> Future[list[Path]]:
        return pool.submit(_draw, draw, path, look)

    try:
        yield submit
    except BrokenProcessPool:
        text = "a process that draws figures was killed, maybe for lack of memory"
        raise CabenchError(f"{text}; re-run the command") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(results: Results) -> None:
    """Keep the results in a new process. Ctrl-C is left to the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
    _results.append(results)


def _draw(draw: Draw, path: Path, look: Look) -> list[Path]:
    return draw(path, _results[0], look)


_results: list[Results] = []  # of this process
