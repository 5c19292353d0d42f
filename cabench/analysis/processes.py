"""Other processes that draw a study's figures and write its page: most of a report's time."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.runtime.cores import cores
from cabench.runtime.signals import STOPPING

MOST = 8  # processes: a report has about as many parts
Submit = Callable[..., Future[Any]]  # (function, first, *others), which `in_processes` describes


@contextmanager
def in_processes(results: Results) -> Iterator[Submit]:
    """`submit(function, first, *others)` starts function(first, results, *others) elsewhere.

    On Linux the processes are forks, which have imported everything and hold the results with the
    comparisons and verdicts that most parts show. On other systems a fork may hang in their
    libraries, so processes start afresh. CabenchError where one is killed.
    """
    _ = results.compare_arms(), results.verdicts  # once, before the forks
    gc.freeze()  # a collection in a fork would copy every page that the processes share
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(min(cores(), MOST), context, initializer=_begin, initargs=(results,))

    def submit(function: Callable[..., Any], first: Any, *others: Any) -> Future[Any]:
        return pool.submit(_call, function, first, *others)

    try:
        yield submit
    except BrokenProcessPool:
        text = "a process that wrote a part of the report was killed, maybe for lack of memory"
        raise CabenchError(f"{text}; re-run the command") from None
    finally:
        pool.shutdown(cancel_futures=True)
        gc.unfreeze()


def _begin(results: Results) -> None:
    """Keep the results in a new process. Ctrl-C is left to the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
    _results.append(results)


def _call(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    return function(first, _results[0], *others)


_results: list[Results] = []  # of this process
