"""Trials on this machine: in this process at one job, else in a pool of spawned workers.

Either way a trial has one torch thread, so that both give the same bits.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple
from typing import Any

from cabench.errors import CabenchError
from cabench.executors.base import Event, Listener
from cabench.plan import Trial
from cabench.store import Store

_news: Any = None  # a worker's queue to the driver


def default_jobs() -> int:
    """One per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(trials: Sequence[Trial], store: Store, jobs: int, device: str, listener: Listener) -> None:
    """Runs the trials; their records are on disk when it returns."""
    jobs = min(jobs, len(trials))
    if jobs <= 1:
        _in_process(trials, store, device, listener)
    else:
        _in_pool(trials, store, jobs, device, listener)


def _in_process(trials: Sequence[Trial], store: Store, device: str, listener: Listener) -> None:
    import torch

    from cabench.trial import run_trial

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for trial in trials:
            listener.started(trial.key)

            def tell(stage: str, part: float, note: str, key: str = trial.key) -> None:
                listener.heard(Event(key, stage, part, note))

            listener.finished(run_trial(trial, store, device, tell))
    finally:
        torch.set_num_threads(threads)


def _in_pool(
    trials: Sequence[Trial], store: Store, jobs: int, device: str, listener: Listener
) -> None:
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue()
    faults: list[Exception] = []
    hearing = threading.Thread(target=_hear, args=(news, listener, faults), daemon=True)
    hearing.start()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(news,))
    try:
        futures = [pool.submit(_work, trial, store, device) for trial in trials]
        for future in as_completed(futures):
            future.result()
        news.put(None)
        hearing.join()
    except BrokenProcessPool:
        raise CabenchError(
            "a worker process died (out of memory?); finished trials are kept, "
            "the same command goes on with the rest"
        ) from None
    except KeyboardInterrupt:
        for process in pool._processes.values():
            process.terminate()  # files are written atomically: nothing half-done stays
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if faults:
        raise faults[0]


def _begin(news: Any) -> None:
    """In each new worker: leave Ctrl-C to the driver, one thread, import torch once."""
    global _news
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_driver, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _die_with_driver() -> None:
    """A worker whose driver was killed stops at once, and so lets go of its locks."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(trial: Trial, store: Store, device: str) -> None:
    from cabench.trial import run_trial

    _news.put(("started", trial.key))

    def tell(stage: str, part: float, note: str) -> None:
        _news.put(("heard", astuple(Event(trial.key, stage, part, note))))

    record = run_trial(trial, store, device, tell)
    _news.put(("finished", {name: record[name] for name in ("key", "status", "error", "timing")}))


def _hear(news: Any, listener: Listener, faults: list[Exception]) -> None:
    """Passes news on; a listener that fails is left alone, but the queue is still emptied."""
    while (message := news.get()) is not None:
        if faults:
            continue
        kind, content = message
        try:
            getattr(listener, kind)(Event(*content) if kind == "heard" else content)
        except Exception as error:  # such as a closed pipe behind the console
            faults.append(error)
