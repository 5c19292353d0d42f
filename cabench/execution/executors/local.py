"""Trials in this process, one after the other, each with one torch thread.

For one core, one GPU, tests and debuggers. A trial that the system kills ends this process too.
"""

from __future__ import annotations

from collections.abc import Sequence

from cabench.execution.executors.base import Event, Listener, log_to
from cabench.planning.trials import Trial
from cabench.records.store import Store


def run(trials: Sequence[Trial], store: Store, device: str, listener: Listener) -> None:
    """Runs the trials; their records are on disk when it returns."""
    from cabench.execution.trial import run_trial
    from cabench.runtime.threads import one_thread

    with one_thread():
        for trial in trials:
            listener.started(trial.key)

            def tell(stage: str, part: float, note: str, key: str = trial.key) -> None:
                listener.heard(Event(key, stage, part, note))

            with log_to(listener.said):
                record = run_trial(trial, store, device, tell)
            listener.finished(record)
