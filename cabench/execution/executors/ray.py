"""Trials on Ray Tune: workers side by side on this machine or on a cluster.

Ray schedules the trials that have no record; only the records say
what is finished. Workers are reused, so that each imports torch once. A trial has one torch thread,
as in the local executor, so that both give the same bits.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from cabench.errors import CabenchError, DataMissing, describe, disk_fault, is_machine_fault, plural
from cabench.execution.executors.base import (
    DEATHS,
    Evaluated,
    Finished,
    Halted,
    Listener,
    Logged,
    Message,
    Pool,
    Started,
    Surviving,
    Workers,
    forward_log,
    sparse_progress,
)
from cabench.execution.executors.ray_cluster import GB, started
from cabench.execution.tuning import DIVERGED, ArmSearches, evaluate
from cabench.planning.trials import Trial
from cabench.planning.tuning import Search
from cabench.records.schema import Record, SearchOutcome
from cabench.records.store import Store
from cabench.runtime.signals import exit_with

WAITING = 2**20  # bytes that Tune reserves for the function that waits for a trial's ranks
DEATH = ("actor died", "actor is dead", "low on memory")  # in Ray's messages about a dead worker
LOST = "Ray lost a node that ran trials; finished trials are kept, re-run the command to resume"

# Keys of the results that workers report to the driver
MESSAGE = "message"  # a Message for the listener
HALT = "halt"  # text: the run cannot continue
LOSS, FAULT = "loss", "fault"  # of an evaluation; text: why it failed


# ---- running trials and searches ----------------------------------------------------------------


def run(trials: Sequence[Trial], store: Store, pool: Pool, device: str, listener: Listener) -> None:
    """Run the trials in their order; their records are on disk when it returns.

    All nodes must see the results and cache directories under the same path.
    """
    space = {"trial": tune.grid_search(list(range(len(trials))))}
    driver = _Driver(trials, store, listener)
    parameters: dict[str, Any] = {"trials": list(trials), "store": store}
    if pool.ranks > 1:
        _fit(_run_on_ranks, parameters | {"pool": pool}, space, pool, device, driver)
    else:
        _fit(_run_trial, parameters, space, pool, device, driver)


def search(
    searches: Sequence[Search], store: Store, pool: Pool, device: str, listener: Listener
) -> dict[str, SearchOutcome]:
    """Run learning-rate searches, arms side by side; return their outcomes by arm.

    An evaluation takes one process, of the CPUs and GPUs of a trial.
    """
    pool = dataclasses.replace(pool, ranks=1)
    arms = ArmSearches(searches)
    options = {"search_alg": _Suggest(arms), "num_samples": arms.evaluations}
    driver = _Driver(searches, store, listener)
    parameters = {"searches": list(searches), "store": store}
    _fit(_evaluate, parameters, {}, pool, device, driver, **options)
    return arms.outcomes(store)


def _fit(
    work: Callable[..., None],  # called in a worker, with a config and the parameters
    parameters: dict[str, Any],
    space: dict[str, Any],  # what the config holds besides folder and device
    pool: Pool,
    device: str,
    driver: _Driver,
    **options: Any,  # of tune.TuneConfig
) -> None:
    with started(pool) as workers, driver.store.scratch("ray") as scratch:
        if pool.jobs is not None and workers < pool.jobs:
            room = f"room for {plural(workers, 'trial')} side by side, not {pool.jobs}"
            takes = f"a process takes {pool.memory / GB:.1f} GB of memory"
            driver.listener(Logged(f"{room}: {takes}"))
        driver.listener(Workers(workers))
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(work, **parameters), _resources(pool)),
            param_space=space
            | {
                "scratch": str(scratch),
                "folder": os.getcwd(),
                "device": device,
                "gpus": pool.gpus,
                "driver": os.getpid() if pool.address is None else None,  # of this machine
            },
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=workers,
                trial_dirname_creator=lambda trial: trial.trial_id,
                **options,
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[driver],
                failure_config=tune.FailureConfig(max_failures=DEATHS - 1),
            ),
        )
        try:
            tuner.fit()
        except Exception:  # Tune wraps what a callback raises
            if driver.fault is None:
                raise
        if fault := driver.fault or driver.listener.fault:
            raise fault


def _resources(pool: Pool) -> dict[str, float]:
    """What Tune reserves for a trial; the ranks of a trial are Ray Train's."""
    if pool.ranks > 1:
        return {"cpu": 0, "memory": WAITING}
    return {"cpu": pool.cpus, "gpu": pool.gpus, "memory": pool.memory}


class _Suggest(Searcher):
    """Tune's search interface to the searches of all arms."""

    def __init__(self, arms: ArmSearches):
        super().__init__()
        self.arms = arms

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.arms.exhausted:
            return Searcher.FINISHED
        chosen = self.arms.suggest(trial_id)
        return None if chosen is None else {"trial": chosen.place, "factor": chosen.factor}

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        pass

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        result = result or {}
        fault = result.get(FAULT) or (None if LOSS in result else "its worker died")
        self.arms.complete(trial_id, result.get(LOSS), fault)


# ---- in a worker --------------------------------------------------------------------------------


def _run_trial(config: dict[str, Any], trials: list[Trial], store: Store) -> None:
    """One trial; its messages go to the driver as Tune's results."""
    trial = trials[config["trial"]]

    def work(device: str) -> None:
        from cabench.execution.trial import run_trial

        _send(Finished.of(run_trial(trial, store, device, sparse_progress(trial.key, _send))))

    _guarded(config, work)


def _run_on_ranks(config: dict[str, Any], trials: list[Trial], store: Store, pool: Pool) -> None:
    """One trial on several ranks, which are workers of Ray Train."""
    trial = trials[config["trial"]]

    def work(device: str) -> None:
        from cabench.execution.executors import ray_train

        for message in ray_train.run(trial, store, device, pool, config["scratch"]):
            if isinstance(message, Halted):
                raise CabenchError(message.text)
            _send(message)

    _guarded(config, work)


def _evaluate(config: dict[str, Any], searches: list[Search], store: Store) -> None:
    """One learning rate of one arm's search."""
    search, factor = searches[config["trial"]], config["factor"]

    def work(device: str) -> None:
        report, began = sparse_progress(search.key, _send), time.perf_counter()

        def progress(seen: int, loss: float) -> None:
            report("train", min(1, seen / search.images), f"loss {loss:.4f}")

        try:
            loss = evaluate(search, factor, store, device, progress)
        except Exception as error:
            if is_machine_fault(error) or isinstance(error, DataMissing):
                raise
            tune.report({LOSS: DIVERGED, FAULT: describe(error)})
            return
        lr = search.at(factor).training.lr
        seconds = time.perf_counter() - began
        tune.report({LOSS: loss, MESSAGE: Evaluated(search.key, lr, loss, seconds)})

    _guarded(config, work)


def _guarded(config: dict[str, Any], work: Callable[[str], None]) -> None:
    """Call `work(device)` in the driver's directory, on one thread; a disk error halts the run."""
    if config["driver"] is not None:
        exit_with(config["driver"])
    try:
        os.chdir(config["folder"])
    except OSError as error:
        text = f"a node can't open the directory {config['folder']} ({error.strerror})"
        tune.report({HALT: f"{text}: results must be on a path that all nodes share"})
        return
    from cabench.runtime.devices import limit_memory, pick_device
    from cabench.runtime.threads import one_thread

    try:
        with one_thread(), forward_log(lambda text: _send(Logged(text))):
            device = pick_device(config["device"])
            limit_memory(device, config["gpus"])
            work(device)
    except OSError as error:
        tune.report({HALT: disk_fault(error)})
    except CabenchError as error:
        tune.report({HALT: str(error)})


def _send(message: Message) -> None:
    tune.report({MESSAGE: message})


# ---- in the driver ------------------------------------------------------------------------------


class _Driver(tune.Callback):
    """Passes messages to the listener. `fault` is the reason why a run cannot continue."""

    def __init__(self, trials: Sequence[Trial | Search], store: Store, listener: Listener):
        self.trials, self.store, self.listener = trials, store, Surviving(listener)
        self.fault: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its callbacks; nothing is ever restored

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        self.listener(Started(self.trials[trial.config["trial"]].key))

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **_: Any
    ) -> None:
        if HALT in result:
            self.fault = CabenchError(result[HALT])
            raise self.fault
        if MESSAGE in result:
            self.listener(result[MESSAGE])

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        ours = self.trials[trial.config["trial"]]
        self.listener(Logged(f"{ours.arm}: a worker died; restarted in another"))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        error = _last_error(trial)
        if "node has died" in error:  # not the arm's fault
            self.fault = self.fault or CabenchError(LOST)
        elif not any(words in error for words in DEATH):  # raised outside the trial
            lines = error.strip().splitlines() or ["no reason given"]
            self.fault = self.fault or CabenchError(f"a worker can't run trials: {lines[-1]}")
        elif isinstance(ours := self.trials[trial.config["trial"]], Trial):
            self.listener(Finished.of(self._failed(ours)))

    def _failed(self, trial: Trial) -> Record:
        """The record of a trial whose workers died, unless another process completed it."""
        from cabench.execution.trial import write_failed

        error = f"its worker process died {DEATHS} times (out of memory, or killed)"
        return write_failed(trial, self.store, error)


def _last_error(trial: Any) -> str:
    """What Tune wrote about a trial's last failure."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return ""
    return text.rpartition("Failure # ")[2]
