"""Views of long work: redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDTH = 100  # columns of a bar, at most


class LiveView(ABC):
    """A context in which `render` is shown on a terminal; `line` prints text that stays."""

    def __init__(self, console: Console):
        self.console = console
        self.began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, refresh_per_second=2, get_renderable=self.render
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(Text(), refresh=True)
            self._live.stop()

    def line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    @abstractmethod
    def render(self) -> Group:
        """What the terminal shows now."""

    def bar(self, fraction: float) -> Table:
        """A progress bar as wide as the terminal."""
        bar = Table.grid()
        bar.add_row(ProgressBar(1.0, fraction, width=min(WIDTH, self.console.width)))
        return bar
