"""Views of long work: redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDTH = 100  # columns of a bar, at most
SILENT = 120.0  # seconds; where nothing is redrawn, a line says at least that often what runs


class LiveView(ABC):
    """A context in which `render` is shown on a terminal; `line` prints text that stays.

    Elsewhere a thread prints `state` after SILENT seconds without a line: the main thread may wait
    long for a step or a worker. `raise_fault` raises in the main thread what that printing raised.
    """

    def __init__(self, console: Console):
        self.console = console
        self.began = self.last_line = time.monotonic()
        self._live: Live | None = None
        self.ended = threading.Event()
        self.speaker: threading.Thread | None = None  # where nothing is redrawn
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, refresh_per_second=2, get_renderable=self.render
            )
            self._live.start()
        else:
            self.speaker = threading.Thread(target=self._speak, daemon=True)
            self.speaker.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(Text(), refresh=True)
            self._live.stop()
        self.ended.set()
        if self.speaker is not None:
            self.speaker.join()

    def line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.console.print(text, soft_wrap=True)

    def raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _speak(self) -> None:
        """Print `state` after each silence, until the context ends."""
        while not self.ended.wait(max(0.0, self.last_line + SILENT - time.monotonic())):
            if time.monotonic() - self.last_line < SILENT:
                continue  # a line was printed meanwhile
            try:
                self.line(self.state())
            except (Exception, SystemExit) as fault:  # rich raises SystemExit on a broken pipe
                self._fault = fault
                return

    @abstractmethod
    def render(self) -> Group:
        """What the terminal shows now."""

    @abstractmethod
    def state(self) -> str:
        """The same in a line."""

    def bar(self, fraction: float) -> Table:
        """A progress bar as wide as the terminal."""
        bar = Table.grid()
        bar.add_row(ProgressBar(1.0, fraction, width=min(WIDTH, self.console.width)))
        return bar
