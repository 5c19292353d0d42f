"""A trial in processes of its own on this machine, one per rank.

When one of them dies the others are ended, and the trial starts again from its last snapshot.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from cabench.diffusion.ranks import Ranks, joined
from cabench.errors import CabenchError, cut, disk_fault
from cabench.execution.executors.base import (
    DEATHS,
    Finished,
    Halted,
    Listener,
    Logged,
    Message,
    forward_log,
    sparse_progress,
)
from cabench.planning.trials import Trial
from cabench.records.store import Store
from cabench.runtime.signals import exit_with, ignore_stopping, stop_on_signals
from cabench.runtime.threads import one_thread

POLL = 0.2  # seconds
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # of torch, which warns of unused parameters
END_WITHIN = 5.0  # seconds between the request to end and the kill
SAVED_WITHIN = 60.0  # seconds until the leader, which saves its state, has ended


def run(trial: Trial, store: Store, device: str, count: int, listener: Listener) -> Finished:
    """Runs a trial on `count` ranks; its record is on disk when it returns.

    A trial whose ranks die DEATHS times has failed. Raises CabenchError for a fault of the machine.
    """
    from cabench.execution.trial import write_failed

    os.environ |= QUIET | os.environ  # inherited by the ranks
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    reason = ""
    for attempt in range(DEATHS):
        outcome = _attempt(trial, store, device, count, listener)
        if isinstance(outcome, Finished):
            return outcome
        reason = outcome
        if attempt < DEATHS - 1:
            listener(Logged(f"{trial.arm}: {reason}; restarted from the last snapshot"))
    return Finished.of(write_failed(trial, store, f"its processes died {DEATHS} times: {reason}"))


def _attempt(
    trial: Trial, store: Store, device: str, count: int, listener: Listener
) -> Finished | str:
    """The trial's end, or why its ranks died."""
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    with store.scratch("ranks") as folder:
        arguments = (trial, store, device, count, folder / "rendezvous", sender, os.getpid())
        ranks = start_processes(_rank, arguments, count, join=False, start_method="spawn")
        assert ranks is not None  # as it does not wait for them
        sender.close()
        patience = 0.0
        try:
            while not ranks.join(timeout=0):
                if (finished := _received(receiver, listener)) is not None:
                    patience = END_WITHIN  # they end by themselves
                    return finished
            return _received(receiver, listener) or "its processes ended without a record"
        except ProcessExitedException as error:
            how = error.signal_name or f"exit code {error.exit_code}"
            return _received(receiver, listener) or f"rank {error.error_index} died ({how})"
        except ProcessRaisedException as error:
            last = str(error).strip().splitlines()[-1]
            reason = f"rank {error.error_index} failed: {cut(last, 500)}"
            return _received(receiver, listener) or reason
        finally:
            _end(ranks, patience)


def _received(receiver: Connection, listener: Listener) -> Finished | None:
    """Passes messages on until none comes for a moment; the trial's end if it is among them."""
    try:
        while receiver.poll(POLL):
            message: Message = receiver.recv()
            if isinstance(message, Finished):
                return message
            if isinstance(message, Halted):
                raise CabenchError(message.text)
            listener(message)
    except (EOFError, OSError):  # the leader has ended
        time.sleep(POLL)
    return None


def _end(ranks: ProcessContext, patience: float) -> None:
    """Ends the ranks that still run after `patience` seconds; the leader may save its state."""
    leader, *others = ranks.processes
    _wait(ranks.processes, patience)
    leader.terminate()
    _wait([leader], SAVED_WITHIN)
    for process in others:
        process.terminate()
    _wait(others, END_WITHIN)
    for process in ranks.processes:
        process.kill()
        process.join()


def _wait(processes: Sequence[BaseProcess], seconds: float) -> None:
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))


# ---- in a rank ----------------------------------------------------------------------------------


def _rank(
    rank: int,
    trial: Trial,
    store: Store,
    device: str,
    count: int,
    rendezvous: Path,
    sender: Connection,
    driver: int,
) -> None:
    exit_with(driver)
    if rank:  # the leader alone stops the trial, at the same step for all
        ignore_stopping()
    with one_thread(), joined(rank, count, device, rank, rendezvous) as ranks:
        if rank:
            ranks.follow()
        else:
            with stop_on_signals():
                lead(trial, store, device, ranks, sender.send)
            ranks.dismiss()


def lead(
    trial: Trial, store: Store, device: str, ranks: Ranks, send: Callable[[Message], None]
) -> None:
    """Runs a trial with the ranks that follow; its messages end in Finished or Halted."""
    from cabench.execution.trial import run_trial

    with forward_log(lambda text: send(Logged(text))):
        try:
            progress = sparse_progress(trial.key, send)
            record = run_trial(trial, store, device, progress, ranks)
        except ConnectionError:  # to another rank
            raise
        except OSError as error:
            send(Halted(disk_fault(error)))
        except CabenchError as error:
            send(Halted(str(error)))
        else:
            send(Finished.of(record))
