"""The live view of a run: done, running, time left. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cabench.execution.executors.base import Event
from cabench.runtime.console import clock

STAGE_SHARE = {"train": (0.0, 0.75), "sample": (0.75, 0.95), "score": (0.95, 1.0)}  # of a trial


class Tally:
    """Where the time of a run went: trials, the wait for the last ones, the suite itself."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.places = 1  # trials side by side
        self.computed = 0.0  # seconds inside trials, summed
        self.first: float | None = None  # news from within a trial
        self.last_start = self.began
        self.ends: list[float] = []

    def started(self) -> None:
        self.last_start = time.monotonic()

    def heard(self) -> None:
        self.first = self.first or time.monotonic()

    def finished(self, seconds: float) -> None:
        self.heard()
        self.computed += seconds
        self.ends.append(time.monotonic())

    def line(self, what: str = "trials") -> str:
        """A line such as '30 trials in 13:49, 2 side by side: ... overhead 12 s (1.5 %), ...'."""
        now = time.monotonic()
        wall = now - self.began
        first = (self.first or now) - self.began
        # once the last trial has begun, whoever ends waits
        waiting = sum(now - end for end in self.ends if end >= self.last_start)
        waiting += max(0, self.places - len(self.ends)) * (wall - first)
        overhead = max(0.0, wall - (self.computed + waiting) / self.places)
        return (
            f"{len(self.ends)} {what} in {clock(wall)}, {self.places} side by side: "
            f"{clock(self.computed)} of {what}, {waiting:.0f} s of workers idle at the end, "
            f"overhead {overhead:.0f} s ({overhead / wall:.1%}), "
            f"{first:.0f} s of it before the first began"
        )


class Progress:
    """A Listener. By trial key: `names` are printed, `work` is the expected cost in any unit.

    `console` is one of `screen()`: errors and names hold [brackets].
    """

    def __init__(
        self, console: Console, names: dict[str, str], work: dict[str, float], repeats: int = 1
    ):
        self.console, self.names, self.work = console, names, work
        self.total = len(names) * repeats  # a search's key stands for several evaluations
        self.repeats = repeats
        self.running: dict[str, tuple[float, Event]] = {}  # key -> (part of the trial, last news)
        self.done: list[str] = []
        self.failed: list[str] = []
        self.tally = Tally()
        self.live = Live(console=console, refresh_per_second=2, get_renderable=self.render)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.console.is_terminal:
            self.live.update(Text(), refresh=True)
            self.live.stop()

    # -- Listener

    def places(self, count: int) -> None:
        self.tally.places = count

    def said(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def started(self, key: str) -> None:
        self.tally.started()
        self.running[key] = (0.0, Event(key, "train", 0.0, "loading"))

    def heard(self, event: Event) -> None:
        self.tally.heard()
        start, end = STAGE_SHARE[event.stage]
        self.running[event.key] = (start + (end - start) * event.part, event)

    def finished(self, record: dict[str, Any]) -> None:
        key = record["key"]
        self.tally.finished(record.get("timing", {}).get("trial_s", 0.0))
        self.running.pop(key, None)
        self.done.append(key)
        if record["status"] == "failed":
            self.failed.append(key)
            came = f"failed: {record['error']}"
        else:
            came = f"{record['timing'].get('train_images_per_s', 0):,.0f} images/s"
        left = self.left()
        self.said(
            f"[{len(self.done):>3}/{self.total}] {self.names[key]}: {came}"
            + (f"; {clock(left)} left" if left and len(self.done) < self.total else "")
        )

    def evaluated(self, done: dict[str, Any]) -> None:
        """A rate of a learning-rate search was tried."""
        key = done["key"]
        self.tally.finished(done["timing"]["trial_s"])
        self.running.pop(key, None)
        self.done.append(key)
        self.said(
            f"[{len(self.done):>3}/{self.total}] {self.names[key]}: rate {done['rate']:g}, "
            f"loss {done['loss']:.4f}"
        )

    # -- time

    def fraction(self) -> float:
        finished = sum(self.work[k] for k in self.done)
        under_way = sum(self.work[k] * part for k, (part, _) in self.running.items())
        return (finished + under_way) / (self.repeats * sum(self.work.values()))

    def left(self) -> float | None:
        """Seconds, from the work done so far; None while too little is done to tell."""
        fraction = self.fraction()
        elapsed = time.monotonic() - self.tally.began
        return elapsed * (1 - fraction) / fraction if fraction > 0.005 else None

    def render(self) -> Group:
        left = self.left()
        head = Text(
            f"{len(self.done)} of {self.total} trials done, {len(self.running)} running"
            + (f", {len(self.failed)} failed" if self.failed else "")
            + f"   {clock(time.monotonic() - self.tally.began)} gone, "
            + (f"about {clock(left)} left" if left is not None else "measuring the pace")
        )
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True, max_width=40)
        rows.add_column(width=8)
        rows.add_column(width=24)
        rows.add_column(no_wrap=True)
        for key, (part, event) in list(self.running.items()):
            rows.add_row(
                Text(self.names[key]), event.stage, ProgressBar(1.0, part, width=24), event.note
            )
        bar = Table.grid()
        bar.add_row(ProgressBar(1.0, self.fraction(), width=min(100, self.console.width)))
        return Group(bar, head, rows)
