"""What every executor is given and tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from cabench.runtime.files import LOG


@dataclass(frozen=True)
class Event:
    """News of a running trial."""

    key: str
    stage: str  # train, sample, score
    part: float  # of the stage, in [0, 1]
    note: str = ""


class Listener(Protocol):
    """Hears what happens, in the driver's main thread."""

    def started(self, key: str) -> None: ...
    def heard(self, event: Event) -> None: ...
    def said(self, text: str) -> None: ...  # a line to keep, such as a file found damaged
    def finished(self, record: dict[str, Any]) -> None: ...  # key, status, error, timing


class _Passing(logging.Handler):
    def __init__(self, tell: Callable[[str], None]):
        super().__init__(logging.WARNING)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())


@contextmanager
def log_to(tell: Callable[[str], None]) -> Iterator[None]:
    """What is logged in the block is told to `tell` instead."""
    held, LOG.handlers = LOG.handlers, [_Passing(tell)]
    propagated, LOG.propagate = LOG.propagate, False
    try:
        yield
    finally:
        LOG.handlers, LOG.propagate = held, propagated
