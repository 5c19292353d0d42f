"""The time left follows the work done, not the count of trials; text is printed as written."""

import io

import pytest
from rich.console import Console

from cabench.execution.executors.base import Finished, Logged, Progressed, Started
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


@pytest.mark.parametrize("terminal", [False, True])
def test_in_a_log_a_line_says_what_runs_where_nothing_else_is_said(terminal, monkeypatch):
    file, now = io.StringIO(), [1000.0]
    monkeypatch.setattr("cabench.execution.progress.time.monotonic", lambda: now[0])
    console = screen(file=file, force_terminal=terminal)
    view = Progress(console, {"a": "can-3, seed 0", "b": "native, seed 0"}, {"a": 1.0, "b": 3.0})
    view.receive(Started("a"))
    for seconds in (60, 60, 5, 60, 60):  # the third is past 120 s
        now[0] += seconds
        view.receive(Progressed("a", "train", 0.5))
    expected = "" if terminal else "0 of 2 done; can-3, seed 0: train, 50%; 20:08 left\n"
    assert file.getvalue() == expected


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
