"""Trials one after the other, with one torch thread per process.

In this process, for one core, one GPU, tests and debuggers: a trial that the system kills ends it.
A trial that several processes share runs in processes of its own (`launch`), or, under torchrun, in
those that torchrun started.
"""

from __future__ import annotations

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
    from cabench.execution.trial import run_trial
    from cabench.runtime.threads import one_thread

    listener, ranks = Surviving(listener), current()
    with one_thread():
        for trial in trials:
            listener(Started(trial.key))
            if count > 1 and ranks is ALONE:
                listener(launch.run(trial, store, device, count, listener))
                continue

            def progress(stage: str, fraction: float, note: str, key: str = trial.key) -> None:
                listener(Progressed(key, stage, fraction, note))

            with forward_log(lambda text: listener(Logged(text))):
                try:
                    record = run_trial(trial, store, device, progress, ranks)
                except (Exception, SystemExit) as error:
                    if ranks.broken and not is_machine_fault(error):
                        raise CabenchError(f"{describe(error)}; {OUT_OF_STEP}") from error
                    raise
            listener(Finished.of(record))
    if listener.fault is not None:
        raise listener.fault
