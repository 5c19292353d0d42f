"""Trials in this process, one after the other, with one torch thread.

For one core, one GPU, tests and debuggers. A trial that the system kills ends this process.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def run(trials: Sequence[Trial], store: Store, device: str, listener: Listener) -> None:
    """Run the trials; their records are on disk when it returns."""
    from cabench.execution.trial import run_trial
    from cabench.runtime.threads import one_thread

    listener = Surviving(listener)
    with one_thread():
        for trial in trials:
            listener(Started(trial.key))

            def progress(stage: str, fraction: float, note: str, key: str = trial.key) -> None:
                listener(Progressed(key, stage, fraction, note))

            with forward_log(lambda text: listener(Logged(text))):
                record = run_trial(trial, store, device, progress)
            listener(Finished.of(record))
    if listener.fault is not None:
        raise listener.fault
