"""Signals that end a command as Ctrl-C does: SIGTERM (Slurm, kill), SIGHUP (a closed terminal)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows has no SIGHUP
WATCH_EVERY = 2.0  # seconds


_received: list[int] = []  # the signals that raised KeyboardInterrupt


def exit_code() -> int:
    """Of a stopped command: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """In the block the signals in STOPPING raise KeyboardInterrupt, unless `nohup` ignores them.

    Ray replaces the handlers when it starts, so its executor enters such a block of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ignore_stopping() -> None:
    """Makes this process ignore the signals in STOPPING: another one stops its work."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within a `stop_on_signals` block: signals wait for the end of this one, which raises.

    The callable says whether one has come, so that the block can save its work and end.
    """
    waiting: list[int] = []
    stops = [number for number in STOPPING if signal.getsignal(number) is _stop]
    if threading.current_thread() is not threading.main_thread():
        stops = []  # no handler can be set
    for number in stops:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield lambda: bool(waiting)
    finally:
        for number in stops:
            signal.signal(number, _stop)
    if waiting:
        _stop(waiting[0], None)


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def exit_with(driver: int) -> None:
    """Ends this process soon after the process `driver` of this machine has ended.

    A worker whose driver was killed would otherwise hold its core and its locks until Ray notices.
    """

    def watch() -> None:
        while True:
            time.sleep(WATCH_EVERY)
            try:
                os.kill(driver, 0)
            except ProcessLookupError:
                os._exit(1)

    if driver not in _watched:
        _watched.add(driver)
        threading.Thread(target=watch, daemon=True).start()


_watched: set[int] = set()
