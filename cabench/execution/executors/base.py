"""What every executor is given, and the messages it sends while trials run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cabench.records.schema import Record
from cabench.runtime.files import LOG

DEATHS = 3  # of a trial's worker or ranks; then the trial has failed
REPORT_EVERY = 0.5  # seconds


@dataclass(frozen=True)
class Pool:
    """Where trials run, and what each one takes."""

    jobs: int | None  # trials side by side; None: as many as fit the cluster
    cpus: int = 1
    gpus: float = 0.0
    ranks: int = 1  # processes that share a trial's CPUs and GPUs
    memory: int = 0  # bytes of main memory that each of these processes takes
    address: str | None = None  # of a running Ray cluster; None: workers on this machine


# ---- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workers:
    """The workers have started."""

    count: int  # trials side by side


@dataclass(frozen=True)
class Started:
    """A trial has started."""

    key: str


@dataclass(frozen=True)
class Progressed:
    """A trial has progressed within a stage."""

    key: str
    stage: str  # train, sample, score
    fraction: float  # of the stage, in [0, 1]
    note: str = ""


@dataclass(frozen=True)
class Logged:
    """A worker has logged a line."""

    text: str  # a line to keep, such as a warning about a corrupted file


@dataclass(frozen=True)
class Finished:
    """A trial has a record."""

    key: str
    error: str | None  # of a failed trial
    seconds: float
    images_per_s: float  # in training
    scores: Mapping[str, float] = field(default_factory=dict)  # by metric

    @classmethod
    def of(cls, record: Record) -> Finished:
        seconds = record.timing.get("trial_s", 0.0)
        pace = record.timing.get("train_images_per_s", 0.0)
        return cls(record.key, record.error, seconds, pace, record.metrics)


@dataclass(frozen=True)
class Evaluated:
    """A learning rate of a search was tried."""

    key: str  # of the search
    lr: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Halted:
    """The run cannot continue: a fault of the machine or of the data."""

    text: str


Message = Workers | Started | Progressed | Logged | Finished | Evaluated | Halted
Listener = Callable[[Message], None]  # called in the driver's main thread


class Surviving:
    """A listener that never raises, so that trials continue when standard output is closed.

    `fault` is what it raised, or None; after that it is not called. To be raised at the end.
    """

    def __init__(self, listener: Listener):
        self.listener = listener
        self.fault: BaseException | None = None

    def __call__(self, message: Message) -> None:
        if self.fault is not None:
            return
        try:
            self.listener(message)
        except (Exception, SystemExit) as error:  # rich raises SystemExit on a broken pipe
            self.fault = error


def sparse_progress(key: str, send: Callable[[Message], None]) -> Callable[[str, float, str], None]:
    """A trial's progress callback; sends at most one message every REPORT_EVERY seconds."""
    send(Progressed(key, "train", 0.0, "loading"))
    last = time.monotonic()

    def progress(stage: str, fraction: float, note: str) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_EVERY:
            send(Progressed(key, stage, fraction, note))
            last = time.monotonic()

    return progress


class _Forward(logging.Handler):
    def __init__(self, send: Callable[[str], None]):
        super().__init__(logging.WARNING)
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        self.send(record.getMessage())


@contextmanager
def forward_log(send: Callable[[str], None]) -> Iterator[None]:
    """Pass cabench's log to `send` instead of its handlers."""
    handlers = LOG.handlers
    LOG.handlers = [_Forward(send)]
    propagate, LOG.propagate = LOG.propagate, False
    try:
        yield
    finally:
        LOG.handlers, LOG.propagate = handlers, propagate
