"""A process that computes features of real images while the first trials train."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator

from cabench.execution.duration import real_images
from cabench.planning.trials import Plan, Trial
from cabench.records.store import Store
from cabench.runtime.signals import exit_with

WORTH = 10.0  # seconds of work from which on a process is started
NICENESS = 10  # trials go first


@contextlib.contextmanager
def beside(planned: Plan, trial: Trial, store: Store) -> Iterator[None]:
    """Fill the cache with what the scores of a trial read of real images, at low priority.

    Trials need none of it before they are trained. Then they compute what is absent, beside this
    process, and report what fails here. At the end of the block the process is stopped.
    """
    # This process would extract on the CPU
    if planned.scores_on_gpu or real_images(planned, store.cache) < WORTH:
        yield
        return
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=fill, args=(trial, store, os.getpid()), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def fill(trial: Trial, store: Store, driver: int) -> None:
    """Compute the features in this process, until the process `driver` ends."""
    from cabench.execution.trial import scorers_of
    from cabench.plugins import load_plugins
    from cabench.runtime.threads import one_thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with(driver)
    os.nice(NICENESS)
    with (
        contextlib.suppress(Exception),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        one_thread(),
    ):
        load_plugins(trial.plugins)
        for scorer in scorers_of(trial, store)[1]:
            scorer.prepare()
