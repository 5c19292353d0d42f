"""Ray's own processes on this machine: where their sockets are, and what to do when they die.

Imports no Ray; `ray` does.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from cabench.errors import CabenchError, shown
from cabench.models.kernel_forms import VARIABLE as KERNELS
from cabench.runtime.console import screen
from cabench.runtime.threads import ONE_ARENA

SOCKET_PATH = (104 if sys.platform == "darwin" else 108) - 1  # bytes, at most
LONGEST_ROOT = SOCKET_PATH - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
WATCH_EVERY = 1.0  # seconds
END_WITHIN = 10.0  # seconds after the death of Ray
DIED = "Ray's own processes died; finished trials are kept, re-run the command to resume"


def session_root() -> str:
    """The directory of Ray's sessions, with a path short enough for the sockets in them.

    RAY_TMPDIR, else TMPDIR, as Ray itself chooses it, else /tmp. CabenchError if none will do.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    places = ["/tmp"] if name is None else [os.environ[name], "/tmp"]
    for place in places:
        root = os.path.abspath(os.path.join(place, "ray"))
        if len(os.fsencode(root)) <= LONGEST_ROOT and os.access(place, os.W_OK):
            return root
    raise CabenchError(
        f"{name or 'temporary files'}: expected a writable directory of at most "
        f"{LONGEST_ROOT - len('/ray')} bytes for Ray's sockets, got {shown(places[0])}; set "
        "RAY_TMPDIR to another one, or use --executor local"
    )


def worker_environment() -> dict[str, str]:
    """Environment variables of a worker, on any node: memory allocation and forced kernels."""
    ours = {name: os.environ[name] for name in (*ONE_ARENA, KERNELS) if name in os.environ}
    return ONE_ARENA | ours


class Watch:
    """A context that ends the command soon after Ray's own processes have died.

    Ray notices after a minute, and then ends the process with a stack trace. Here the main thread
    is interrupted, and CabenchError is raised; if it hangs in Ray, the process exits with code 2.
    """

    def __init__(self, is_dead: Callable[[], bool], kill: Callable[[], None]):
        self.is_dead, self.kill = is_dead, kill  # of Ray's processes: one has ended; end the others
        self.died = False
        self._left = threading.Event()

    def __enter__(self) -> None:
        self._in_main = threading.current_thread() is threading.main_thread()
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._left.set()
        if not self.died:
            if kind is KeyboardInterrupt or not self.is_dead():  # a signal may end all at once
                return
            self.died = True
        atexit.register(_leave)  # before Ray's own handler, which would wait for the dead
        self.kill()
        raise CabenchError(DIED) from None

    def _watch(self) -> None:
        while not self._left.wait(WATCH_EVERY):
            if self.is_dead():
                self.died = True
                if self._in_main:
                    os.kill(os.getpid(), signal.SIGTERM)  # raises KeyboardInterrupt there
                if not self._left.wait(END_WITHIN):
                    self.kill()
                    screen().show_cursor()
                    print(f"cabench: {DIED}", file=sys.stderr)
                    _leave()
                return


def _leave() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)
