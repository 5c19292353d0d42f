"""Trials one after the other, with one torch thread per process.

In this process, for one core, one GPU, tests and debuggers: a trial that the system kills ends it.
Several processes of the same command divide the trials: each takes those that no other is at work
on, by their locks, and all end when the last trial has its record.

A trial that several processes share runs in processes of its own (`launch`), or, under torchrun, in
those that torchrun started.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cabench.diffusion.ranks import ALONE, current
from cabench.errors import CabenchError, describe, is_machine_fault
from cabench.execution.executors import launch
from cabench.execution.executors.base import (
    Finished,
    Listener,
    Logged,
    Progressed,
    Started,
    Surviving,
    forward_log,
)
from cabench.planning.trials import Trial
from cabench.records.store import Store

POLL = 0.5  # seconds between looks at trials that other processes are at work on
OUT_OF_STEP = (
    "the processes of torchrun cannot go on after it; finished trials are kept, re-run the command "
    "to resume (torchrun --max-restarts does so)"
)


def run(
    trials: Sequence[Trial],
    store: Store,
    device: str,
    listener: Listener,
    count: int = 1,  # processes per trial, where torchrun has started none
) -> None:
    """Run the trials; their records are on disk when it returns."""
    from cabench.execution.trial import claim, run_claimed
    from cabench.runtime.threads import one_thread

    listener, ranks = Surviving(listener), current()

    before = {trial.key: store.record(trial.key) for trial in trials}

    def run_one(trial: Trial) -> bool:
        """Whether the trial has its record; if not, another process is at work on it."""
        if count > 1 and ranks is ALONE:
            listener(Started(trial.key))
            listener(launch.run(trial, store, device, count, listener))
            return True

        def progress(stage: str, fraction: float, note: str) -> None:
            listener(Progressed(trial.key, stage, fraction, note))

        with claim(trial, store, wait=False) as free, forward_log(lambda t: listener(Logged(t))):
            if not free:
                return False
            listener(Started(trial.key))
            record = store.sound(trial.key)
            if record is not None and record != before[trial.key]:  # of another process
                listener(Finished.of(record))
                return True
            try:
                record = run_claimed(trial, store, device, progress, ranks)
            except (Exception, SystemExit) as error:
                if ranks.broken and not is_machine_fault(error):
                    raise CabenchError(f"{describe(error)}; {OUT_OF_STEP}") from error
                raise
        listener(Finished.of(record))
        return True

    left = list(trials)
    with one_thread():
        while left:
            busy = [trial for trial in left if not run_one(trial)]
            if len(busy) == len(left):
                time.sleep(POLL)
            left = busy
    if listener.fault is not None:
        raise listener.fault
