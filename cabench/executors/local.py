"""Trials in this process, one after the other, each with one torch thread: for one core, one GPU,
tests and debuggers. A trial that the system kills takes this process with it."""

from __future__ import annotations

from collections.abc import Sequence

from cabench.executors.base import Event, Listener, log_to
from cabench.plan import Trial
from cabench.store import Store


def run(trials: Sequence[Trial], store: Store, device: str, listener: Listener) -> None:
    """Runs the trials; their records are on disk when it returns."""
    from cabench.process import one_thread
    from cabench.trial import run_trial

    with one_thread():
        for trial in trials:
            listener.started(trial.key)

            def tell(stage: str, part: float, note: str, key: str = trial.key) -> None:
                listener.heard(Event(key, stage, part, note))

            with log_to(listener.said):
                record = run_trial(trial, store, device, tell)
            listener.finished(record)
