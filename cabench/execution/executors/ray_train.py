"""A trial on Ray Train: a worker per rank, on one node or several.

When a worker dies, Ray Train ends the others and starts all of them again; the trial then resumes
from its last snapshot.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue

from cabench.diffusion.ranks import adopted
from cabench.errors import cut
from cabench.execution.executors.base import DEATHS, REPORT_EVERY, Finished, Message, Pool
from cabench.execution.executors.launch import lead
from cabench.planning.trials import Trial
from cabench.records.store import Store
from cabench.runtime.devices import exact
from cabench.runtime.threads import one_thread


def run(trial: Trial, store: Store, device: str, pool: Pool, scratch: str) -> Iterator[Message]:
    """The messages of a trial on `pool.ranks` workers; the last is Finished or Halted.

    `scratch` is a directory that all nodes share.
    """
    from cabench.execution.trial import write_failed

    queue = Queue(actor_options={"num_cpus": 0})
    gpu = {"GPU": 1} if pool.gpus else {}
    trainer = TorchTrainer(
        _rank,
        train_loop_config={
            "trial": trial, "store": store, "device": device, "queue": queue, "folder": os.getcwd(),
        },
        scaling_config=ScalingConfig(
            num_workers=pool.ranks,
            use_gpu=bool(gpu),
            resources_per_worker={"CPU": pool.cpus // pool.ranks, "memory": pool.memory} | gpu,
        ),
        run_config=RunConfig(
            name=f"{trial.key}-{uuid.uuid4().hex[:8]}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=DEATHS - 1),
        ),
    )  # fmt: skip
    errors: list[str] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            errors.append((str(error).strip().splitlines() or [type(error).__name__])[-1])

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    finished = False
    while thread.is_alive() or not queue.empty():
        with contextlib.suppress(Empty):
            message: Message = queue.get(timeout=REPORT_EVERY)
            finished = finished or isinstance(message, Finished)
            yield message
    queue.shutdown()
    if not finished:
        reason = errors[0] if errors else "they ended without a record"
        error = f"its processes died {DEATHS} times: {cut(reason, 500)}"
        yield Finished.of(write_failed(trial, store, error))


def _rank(config: dict[str, Any]) -> None:
    """One rank of a trial, in a worker whose process group Ray Train has set up."""
    os.chdir(config["folder"])
    exact(config["device"])
    with one_thread(), adopted() as ranks:
        if not ranks.leads:
            ranks.follow()
            return
        lead(config["trial"], config["store"], config["device"], ranks, config["queue"].put)
        if ranks.broken:  # Halted was sent, and the followers wait for the leader
            raise RuntimeError("an error on the leader")
        ranks.dismiss()
