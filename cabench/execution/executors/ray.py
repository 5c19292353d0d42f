"""Trials on Ray Tune: workers side by side on this machine or on a cluster.

The only module that imports Ray. Ray is a pool of workers here and never the memory of what is
done: it is given the missing trials, and the records say what came of them. Workers are reused, so
that torch is imported once in each; a trial has one torch thread, as in the local executor, so that
both give the same bits.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cabench.errors import DISK, CabenchError, describe, disk_fault
from cabench.execution.executors.base import Event, Listener, log_to
from cabench.execution.tuning import DIVERGED, broken, conclude, evaluate
from cabench.models.kernels import VARIABLE as KERNELS
from cabench.planning.trials import Trial
from cabench.planning.tuning import Search
from cabench.records.store import Store
from cabench.runtime.threads import ONE_ARENA

DEATHS = 3  # of a trial's worker; then the trial has failed
OBJECT_STORE = 100 * 2**20  # bytes: trials travel by files
NEWS_EVERY = 0.5  # seconds
PATIENCE = 15  # seconds, for the status of a running cluster
DEATH = ("actor died", "actor is dead", "low on memory")  # Ray's words for a worker's death
LOST = "Ray lost a node that trials ran on; what is finished is kept, the same command goes on"


@dataclass(frozen=True)
class Pool:
    """Where trials run, and what each takes."""

    jobs: int | None  # side by side; None: as many as the cluster holds
    cpus: int = 1
    gpus: float = 0.0
    address: str | None = None  # of a running cluster; None: workers on this machine


def _reach(address: str) -> None:
    """Refuses an address at which no Ray of this version answers.

    `ray.init` itself would try for minutes, then end the process; its makers advise a `ray status`
    in a process of its own, which can be given up (ray-project/ray, issue 46863).
    """
    where = f"--ray-address '{address}'"
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise CabenchError(f"{where}: nobody answers there ({error})") from None
    ask = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        text = f"{where}: who answers there is not Ray, or busy: no status in {PATIENCE} s"
        raise CabenchError(text) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise CabenchError(f"{where}: no Ray of version {ray.__version__} there ({said})")


def environment() -> dict[str, str]:
    """What a worker begins with, on whatever node: its memory, and the kernels that are asked for.

    Tune calls its function in a thread of the worker's.
    """
    told = {name: os.environ[name] for name in (*ONE_ARENA, KERNELS) if name in os.environ}
    return ONE_ARENA | told


@contextmanager
def started(pool: Pool) -> Iterator[int]:
    """Ray up, and down again at the end; yields how many trials run side by side."""
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        if pool.address is None:
            cpus = {"num_cpus": max(1, pool.jobs or 1) * pool.cpus}
            local = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
            os.environ |= environment()  # which workers inherit
            ray.init("local", **cpus, **local, **quiet)
        else:
            _reach(pool.address)
            ray.init(pool.address, runtime_env={"env_vars": environment()}, **quiet)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"--ray-address '{pool.address}'" if pool.address else "Ray on this machine"
        raise CabenchError(f"{where}: can't start: {str(error).splitlines()[0]}") from None
    try:
        yield _places(pool)
    finally:
        ray.shutdown()


def _places(pool: Pool) -> int:
    """How many trials fit at once; Tune would wait for ever for what never fits."""
    offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = 0
    for node in offered:
        places = int(node.get("CPU", 0) // pool.cpus)
        if pool.gpus:
            places = min(places, int(node.get("GPU", 0) / pool.gpus))
        fit += places
    if not fit:
        most = max(offered, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise CabenchError(
            f"resources: a trial takes {pool.cpus} CPUs and {pool.gpus:g} GPUs, the largest node "
            f"has {most.get('CPU', 0):g} and {most.get('GPU', 0):g}"
        )
    return min(fit, pool.jobs or fit)


def run(trials: Sequence[Trial], store: Store, pool: Pool, device: str, listener: Listener) -> None:
    """Runs the trials in their order; their records are on disk when it returns.

    The results and cache folders must be seen under the same path by every node.
    """
    with started(pool) as places, store.scratch("ray") as scratch:
        listener.places(places)
        config = {
            "trial": tune.grid_search(list(range(len(trials)))),
            "folder": os.getcwd(),
            "device": device,
        }
        hearing = _Hearing(trials, store, listener)
        resources = {"cpu": pool.cpus, "gpu": pool.gpus}
        work = tune.with_parameters(_work, trials=list(trials), store=store)
        _fit(work, resources, config, places, scratch, hearing)


def search(
    searches: Sequence[Search], store: Store, pool: Pool, device: str, listener: Listener
) -> dict[str, dict[str, Any]]:
    """Learning-rate searches, one an arm, by Optuna; arms side by side, a search one by one."""
    with started(pool) as places, store.scratch("ray") as scratch:
        listener.places(places)
        config = {"folder": os.getcwd(), "device": device}
        hearing = _Hearing(searches, store, listener)
        work = tune.with_parameters(_evaluate, searches=list(searches), store=store)
        each = _EachArm(searches)
        _fit(
            work,
            {"cpu": pool.cpus, "gpu": pool.gpus},
            config,
            places,
            scratch,
            hearing,
            search_alg=each,
            num_samples=sum(s.options["trials"] for s in searches),
        )
    outcomes = {}
    for found, tried, reasons in zip(searches, each.tried, each.broken, strict=True):
        told = broken(found, reasons) if reasons else conclude(found, tried, store)
        outcomes[found.arm] = told
    return outcomes


class _EachArm(Searcher):
    """An Optuna study for each arm.

    An arm has one evaluation at a time. So the rates tried for an arm depend on that arm's losses
    alone, however many arms run side by side.
    """

    def __init__(self, searches: Sequence[Search]):
        super().__init__()
        self.left = [s.options["trials"] for s in searches]
        self.busy: dict[str, tuple[int, float]] = {}  # Tune's id -> place, factor
        self.tried: list[list[tuple[float, float]]] = [[] for _ in searches]
        self.broken: list[list[str]] = [[] for _ in searches]  # why evaluations came to nothing
        self.optuna = [self._study(s.options) for s in searches]

    @staticmethod
    def _study(options: dict[str, Any]) -> OptunaSearch:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        first = len(options["start"]) + 2  # then the sampler uses what it saw
        return OptunaSearch(
            space={"factor": optuna.distributions.FloatDistribution(*options["range"], log=True)},
            metric="loss",
            mode="min",
            points_to_evaluate=[{"factor": factor} for factor in options["start"]],
            sampler=optuna.samplers.TPESampler(seed=options["seed"], n_startup_trials=first),
        )

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        waiting = {place for place, _ in self.busy.values()}
        free = [i for i, left in enumerate(self.left) if left and i not in waiting]
        if not free:
            return None if any(self.left) else Searcher.FINISHED
        place = max(free, key=lambda i: self.left[i])
        factor = self.optuna[place].suggest(trial_id)["factor"]
        self.left[place] -= 1
        self.busy[trial_id] = place, factor
        return {"trial": place, "factor": factor}

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        pass

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        place, factor = self.busy.pop(trial_id)
        if result and "loss" in result and "broken" not in result:
            self.tried[place].append((factor, result["loss"]))
        else:
            self.broken[place].append((result or {}).get("broken", "its worker died"))
        self.optuna[place].on_trial_complete(trial_id, result, error)


def _fit(
    work: Any,
    resources: dict[str, float],
    config: dict[str, Any],
    places: int,
    scratch: Path,
    hearing: _Hearing,
    **tuning: Any,
) -> None:
    tuner = tune.Tuner(
        tune.with_resources(work, resources),
        param_space=config,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=places,
            trial_dirname_creator=lambda trial: trial.trial_id,
            **tuning,
        ),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[hearing],
            failure_config=tune.FailureConfig(max_failures=DEATHS - 1),
        ),
    )
    try:
        tuner.fit()
    except Exception:  # Tune wraps what a callback raises
        if hearing.fault is None:
            raise
    if hearing.fault is not None:
        raise hearing.fault


# ---- in a worker -------------------------------------------------------------------------------


def _work(config: dict[str, Any], trials: list[Trial], store: Store) -> None:
    """One trial; its news go to the driver as Tune's results."""
    trial = trials[config["trial"]]

    def work(device: str) -> None:
        from cabench.execution.trial import run_trial

        record = run_trial(trial, store, device, _teller(trial.key))
        tune.report({"finished": {k: record[k] for k in ("key", "status", "error", "timing")}})

    _settled(config, work)


def _evaluate(config: dict[str, Any], searches: list[Search], store: Store) -> None:
    """One rate of one arm's search."""
    search = searches[config["trial"]]

    def work(device: str) -> None:
        tell, began = _teller(search.key), time.perf_counter()
        try:
            loss = evaluate(
                search,
                config["factor"],
                store,
                device,
                lambda seen, loss: tell("train", min(1, seen / search.images), f"loss {loss:.4f}"),
            )
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK:
                raise
            tune.report({"loss": DIVERGED, "broken": describe(error)})
            return
        timing = {"trial_s": time.perf_counter() - began}
        rate = search.at(config["factor"])["training"]["lr"]
        done = {"key": search.key, "rate": rate, "loss": loss, "timing": timing}
        tune.report({"loss": loss, "evaluated": done})

    _settled(config, work)


def _settled(config: dict[str, Any], work: Callable[[str], None]) -> None:
    """`work` in the driver's folder, on one thread, its log passed on; halts on a disk's fault."""
    try:
        os.chdir(config["folder"])
    except OSError as error:
        text = f"a node doesn't see the folder {config['folder']} ({error.strerror})"
        tune.report({"halt": f"{text}: results must be on a path that all nodes share"})
        return
    from cabench.runtime.devices import pick_device
    from cabench.runtime.threads import one_thread

    try:
        with one_thread(), log_to(lambda text: tune.report({"said": text})):
            work(pick_device(config["device"]))
    except OSError as error:
        tune.report({"halt": disk_fault(error)})
    except CabenchError as error:
        tune.report({"halt": str(error)})


def _teller(key: str) -> Callable[[str, float, str], None]:
    """Progress as Tune's results, at most one each NEWS_EVERY seconds."""
    tune.report({"heard": astuple(Event(key, "train", 0.0, "loading"))})
    told = time.monotonic()

    def tell(stage: str, part: float, note: str) -> None:
        nonlocal told
        if time.monotonic() - told > NEWS_EVERY:
            tune.report({"heard": astuple(Event(key, stage, part, note))})
            told = time.monotonic()

    return tell


def _last_error(trial: Any) -> str:
    """What Tune wrote of a trial's last failure."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return ""
    return text.rpartition("Failure # ")[2]


# ---- in the driver -----------------------------------------------------------------------------


class _Hearing(tune.Callback):
    """Tune's news to the listener's; what can't go on is kept as `fault`."""

    def __init__(self, trials: Sequence[Trial | Search], store: Store, listener: Listener):
        self.trials, self.store, self.listener = trials, store, listener
        self.fault: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its callbacks; nothing is ever restored

    def _pass(self, kind: str, content: Any) -> None:
        """To the listener, unless it failed before (a closed pipe): then the trials go on."""
        if self.fault is not None:
            return
        try:
            getattr(self.listener, kind)(content)
        except (Exception, SystemExit) as error:  # rich makes SystemExit of a broken pipe
            self.fault = error

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        self._pass("started", self.trials[trial.config["trial"]].key)

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **_: Any
    ) -> None:
        if "halt" in result:
            self.fault = CabenchError(result["halt"])
            raise self.fault
        for kind in ("heard", "said", "finished", "evaluated"):
            if kind in result:
                content = result[kind]
                self._pass(kind, Event(*content) if kind == "heard" else content)

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        ours = self.trials[trial.config["trial"]]
        self._pass("said", f"{ours.arm}: a worker died; the trial goes on in another")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        from cabench.execution.trial import failed

        ours, error = self.trials[trial.config["trial"]], _last_error(trial)
        if "node has died" in error:  # no fault of the arm
            self.fault = self.fault or CabenchError(LOST)
            return
        if not any(words in error for words in DEATH):  # raised outside of the trial
            said = error.strip().splitlines() or ["no reason given"]
            self.fault = self.fault or CabenchError(f"a worker can't run trials: {said[-1]}")
            return
        if isinstance(ours, Search):
            return
        reason = f"its worker process died {DEATHS} times (out of memory, or killed)"
        record = failed({"key": ours.key, "spec": ours.spec, "environment": {}}, reason)
        with self.store.lock(ours.key):
            held = self.store.record(ours.key)
            if held is not None and held["status"] == "complete":
                record = held
            else:
                self.store.write_record(record)
        self._pass("finished", record)
