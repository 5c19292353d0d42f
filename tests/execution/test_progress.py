"""The time left follows the work done, not the count of trials; text is printed as written."""

import io
import threading
import time

import pytest
from rich.console import Console

from cabench.execution.executors.base import Finished, Logged, Progressed, Started, Workers
from cabench.execution.progress import Progress
from cabench.runtime.console import clock, screen


def test_fraction_weighs_trials_by_their_work():
    view = Progress(Console(quiet=True), {"a": "small", "b": "large"}, {"a": 1.0, "b": 3.0})
    assert view.fraction() == 0
    assert view.left() is None
    view.receive(Started("b"))
    view.receive(Progressed("b", "sample", 0.5))
    assert view.fraction() == pytest.approx(0.75 * 0.85)
    view.receive(Finished("a", None, 1.0, 100.0))
    view.receive(Finished("b", "ValueError: x", 1.0, 0.0))
    assert view.fraction() == 1
    assert view.left() == 0
    assert view.failed == ["b"]


def test_the_wait_for_workers_is_shown():
    file = io.StringIO()
    view = Progress(screen(file=file), {"a": "can-3"}, {"a": 1.0})
    view.start("2 workers")
    view.console.print(view.render())
    view.receive(Started("a"))
    view.console.print(view.render())
    waiting, running = file.getvalue().split("0 of 1 done, 1 running")
    assert waiting.startswith("starting 2 workers\n") and waiting.count("starting 2 workers") == 2
    assert "starting" not in running


class Log(io.StringIO):
    """A file that says when a line was written."""

    def __init__(self, fault=None):
        super().__init__()
        self.fault, self.written = fault, threading.Semaphore(0)

    def write(self, text):
        self.written.release()
        if self.fault is not None:
            raise self.fault
        return super().write(text)


def test_in_a_log_lines_say_what_runs_although_no_message_comes(monkeypatch):
    monkeypatch.setattr("cabench.runtime.progress.SILENT", 0.05)
    file, names = Log(), {"a": "can-3, seed 0", "b": "native, seed 0"}
    with Progress(screen(file=file), names, {"a": 1.0, "b": 3.0}) as view:
        view.receive(Started("a"))
        assert all(file.written.acquire(timeout=20) for _ in range(3))
    text = file.getvalue()
    line = "0 of 2 done; can-3, seed 0: train, 0%; time left unknown yet\n"
    assert text.endswith(2 * line)
    time.sleep(0.2)
    assert file.getvalue() == text and not view.speaker.is_alive()  # nothing after the end


def test_a_terminal_shows_what_runs_and_keeps_no_lines_of_it(monkeypatch):
    monkeypatch.setattr("cabench.runtime.progress.SILENT", 0.01)
    file = io.StringIO()
    with Progress(screen(file=file, force_terminal=True), {"a": "can-3"}, {"a": 1.0}) as view:
        view.receive(Started("a"))
        time.sleep(0.2)
    assert "can-3" in file.getvalue() and view.state() not in file.getvalue()


def test_what_runs_is_said_two_minutes_after_the_last_line(monkeypatch):
    file, now, waits = io.StringIO(), [1000.0], []
    monkeypatch.setattr("cabench.runtime.progress.time.monotonic", lambda: now[0])
    view = Progress(screen(file=file), {"a": "can-3", "b": "native"}, {"a": 1.0, "b": 3.0})
    view.receive(Started("a"))
    view.receive(Progressed("a", "train", 0.5))

    class Ended:
        def wait(self, seconds):
            waits.append(seconds)
            now[0] += 60
            if len(waits) == 1:
                view.line("a line")
            now[0] += seconds - 60
            return len(waits) == 4

    view.ended = Ended()
    view._speak()
    state = "0 of 2 done; can-3: train, 50%; {} left\n"
    assert waits == [120, 60, 120, 120]
    assert file.getvalue() == "a line\n" + state.format("29:00") + state.format("48:20")


def test_a_fault_in_printing_what_runs_is_raised_by_the_next_message(monkeypatch):
    monkeypatch.setattr("cabench.runtime.progress.SILENT", 0.01)
    fault = OSError("the disk is full")
    with Progress(screen(file=Log(fault)), {"a": "can-3, seed 0"}, {"a": 1.0}) as view:
        view.speaker.join(timeout=20)  # it ends with the fault
        with pytest.raises(OSError, match="the disk is full"):
            view.receive(Started("a"))


def test_of_many_trials_a_line_names_three():
    keys = [str(number) for number in range(64)]
    view = Progress(Console(quiet=True), {k: f"can-{k}" for k in keys}, dict.fromkeys(keys, 1.0))
    for key in keys:
        view.receive(Started(key))
    assert view.state() == (
        "0 of 64 done; can-0: train, 0%; can-1: train, 0%; can-2: train, 0%; and 61 more; "
        "time left unknown yet"
    )


@pytest.mark.parametrize(
    ("count", "start", "trials"),
    [(1, "1 trial in ", "one at a time: "), (2, "2 trials in ", "2 side by side: ")],
)
def test_the_last_line_counts_the_trials(count, start, trials):
    keys = [str(number) for number in range(count)]
    view = Progress(Console(quiet=True), dict(zip(keys, keys, strict=True)), dict.fromkeys(keys, 1))
    view.receive(Workers(count))
    for key in keys:
        view.receive(Started(key))
        view.receive(Finished(key, None, 1.0, 350.0))
    line = view.usage.line("trial")
    assert line.startswith(start) and trials in line


def test_clock():
    assert [clock(s) for s in (5, 245, 3723, 10**6)] == ["0:05", "4:05", "1:02:03", "12 days"]


def test_brackets_in_names_and_errors_are_printed():
    file, error = io.StringIO(), "ValueError: [red]x[/] in [1, 2] :boom:"
    view = Progress(screen(file=file, force_terminal=True), {"a": "[b]arm[/b]"}, {"a": 1.0})
    view.receive(Logged("[bold]a line[/bold] of 3"))
    view.receive(Finished("a", error, 1.0, 0.0))
    assert file.getvalue() == f"[bold]a line[/bold] of 3\n[  1/1] [b]arm[/b]: failed: {error}\n"


def test_the_line_of_a_trial_has_the_scores_that_the_study_is_judged_by():
    file = io.StringIO()
    metrics = ["kid_levels", "accuracy_trained"]
    view = Progress(screen(file=file), {"a": "can-3, seed 0"}, {"a": 1.0}, metrics=metrics)
    view.receive(Finished("a", None, 1.0, 350.0, {"kid_levels": 0.31236, "kid": 0.7}))
    assert "can-3, seed 0: kid_levels 0.3124, 350 images/s" in file.getvalue()
