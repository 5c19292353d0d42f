"""The progress of a run: trials done and running, time left, where the time went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cabench.errors import plural
from cabench.execution.executors.base import (
    Evaluated,
    Finished,
    Logged,
    Message,
    Progressed,
    Started,
    Workers,
)
from cabench.runtime.console import clock
from cabench.runtime.progress import LiveView

STAGES = {"train": (0.0, 0.75), "sample": (0.75, 0.95), "score": (0.95, 1.0)}  # of a trial
NAMED = 3  # running trials that a line names, at most
MEASURABLE = 0.005  # of the work; before that there is no estimate of the time left


class Usage:
    """Where the time of a run went: trials, idle workers, overhead."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.workers = 1  # trials side by side
        self.computed = 0.0  # seconds in trials, summed
        self.first_message: float | None = None  # from inside a trial
        self.last_start = self.began
        self.ends: list[float] = []

    def started(self) -> None:
        self.last_start = time.monotonic()

    def heard(self) -> None:
        self.first_message = self.first_message or time.monotonic()

    def finished(self, seconds: float) -> None:
        self.heard()
        self.computed += seconds
        self.ends.append(time.monotonic())

    def line(self, unit: str) -> str:
        """'30 trials in 13:49, 2 side by side: ... overhead 12 s (1.5%); first step after 7 s'."""
        now = time.monotonic()
        wall = now - self.began
        waited = (self.first_message or now) - self.began
        # once the last trial has started, a worker that finishes stays idle
        idle = sum(now - end for end in self.ends if end >= self.last_start)
        idle += max(0, self.workers - len(self.ends)) * (wall - waited)
        overhead = max(0.0, wall - (self.computed + idle) / self.workers)
        return (
            f"{plural(len(self.ends), unit)} in {clock(wall)}, {together(self.workers)}: "
            f"{clock(self.computed)} in {unit}s, workers idle for {idle:.0f} s at the end, "
            f"overhead {overhead:.0f} s ({overhead / wall:.1%}); first step after {waited:.0f} s"
        )


class Progress(LiveView):
    """The live view of a run; `receive` is the executors' listener.

    `names` are printed; `work` is the expected cost in any unit; both by key. A search's key stands
    for `repeats` evaluations. The line of a finished trial has its scores by `metrics`; `interim`
    gives the line below it, or ''. `console` is one of `screen()`: names, errors have [brackets].
    """

    def __init__(
        self,
        console: Console,
        names: dict[str, str],
        work: dict[str, float],
        repeats: int = 1,
        metrics: Sequence[str] = (),
        interim: Callable[[str, Mapping[str, float]], str] = lambda key, scores: "",
    ):
        super().__init__(console)
        self.names, self.work, self.repeats, self.metrics = names, work, repeats, metrics
        self.total, self.interim = len(names) * repeats, interim
        self.running: dict[str, Progressed] = {}  # last message, by key
        self.done: list[str] = []  # keys
        self.failed: list[str] = []
        self.usage = Usage()
        self.starting = ""  # what the run waits for before its first trial

    def start(self, what: str) -> None:
        """Say what is being started: it takes a while, and no trial runs before."""
        self.starting = what
        self.line(f"starting {what}")

    def receive(self, message: Message) -> None:
        self.raise_fault()
        match message:
            case Workers(count):
                self.usage.workers = count
            case Started(key):
                self.starting = ""
                self.usage.started()
                self.running[key] = Progressed(key, "train", 0.0, "loading")
            case Progressed(key):
                self.usage.heard()
                self.running[key] = message
            case Logged(text):
                self.line(text)
            case Finished(key, error, seconds, images_per_s, scores):
                shown = [f"{name} {scores[name]:.4g}" for name in self.metrics if name in scores]
                result = ", ".join([*shown, f"{images_per_s:,.0f} images/s"])
                if error is not None:
                    self.failed.append(key)
                    result = f"failed: {error}"
                self._finished(key, seconds, result)
                if error is None and (text := self.interim(key, scores)):
                    self.line(f"         {text}")
            case Evaluated(key, lr, loss, seconds):
                self._finished(key, seconds, f"rate {lr:g}, loss {loss:.4f}")

    def state(self) -> str:
        """'2 of 9 done; can-3, seed 0: train, 45%; 18:20 left'; of many it names the first."""
        running = list(self.running.items())
        parts = [
            f"{self.names[key]}: {last.stage}, {last.fraction:.0%}" for key, last in running[:NAMED]
        ]
        if len(running) > NAMED:
            parts.append(f"and {len(running) - NAMED} more")
        left = self.left()
        time_left = f"{clock(left)} left" if left is not None else self._waiting()
        return "; ".join([f"{len(self.done)} of {self.total} done", *parts, time_left])

    def _finished(self, key: str, seconds: float, result: str) -> None:
        self.usage.finished(seconds)
        self.running.pop(key, None)
        self.done.append(key)
        left = self.left()
        self.line(
            f"[{len(self.done):>3}/{self.total}] {self.names[key]}: {result}"
            + (f"; {clock(left)} left" if left and len(self.done) < self.total else "")
        )

    # -- time

    def fraction(self) -> float:
        """The share of the expected work that is done."""
        done = sum(self.work[key] for key in self.done)
        running = sum(self.work[key] * share(last) for key, last in list(self.running.items()))
        return (done + running) / (self.repeats * sum(self.work.values()))

    def left(self) -> float | None:
        """Seconds left at the pace so far; None while too little is done to measure it."""
        fraction = self.fraction()
        elapsed = time.monotonic() - self.began
        return elapsed * (1 - fraction) / fraction if fraction > MEASURABLE else None

    def _waiting(self) -> str:
        return f"starting {self.starting}" if self.starting else "time left unknown yet"

    def render(self) -> Group:
        left = self.left()
        head = Text(
            f"{len(self.done)} of {self.total} done, {len(self.running)} running"
            + (f", {len(self.failed)} failed" if self.failed else "")
            + f"   {clock(time.monotonic() - self.began)} elapsed, "
            + (f"about {clock(left)} left" if left is not None else self._waiting())
        )
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True, max_width=40)
        rows.add_column(width=8)
        rows.add_column(width=24)
        rows.add_column(no_wrap=True)
        for key, last in list(self.running.items()):
            bar = ProgressBar(1.0, share(last), width=24)
            rows.add_row(Text(self.names[key]), last.stage, bar, last.note)
        return Group(self.bar(self.fraction()), head, rows)


def together(count: int) -> str:
    """How many trials run at a time: '2 side by side'."""
    return "one at a time" if count == 1 else f"{count} side by side"


def share(message: Progressed) -> float:
    """How much of its trial is done, from its stage."""
    start, end = STAGES[message.stage]
    return start + (end - start) * message.fraction
