"""The time left follows the work done, not the count of trials; lines stand as written."""

import io

import pytest
from rich.console import Console

from cabench.execution.executors.base import Event
from cabench.execution.progress import Progress
from cabench.runtime.console import clock, screen


def test_fraction_weighs_trials_by_their_work():
    view = Progress(Console(quiet=True), {"a": "small", "b": "large"}, {"a": 1.0, "b": 3.0})
    assert view.fraction() == 0 and view.left() is None
    view.started("b")
    view.heard(Event("b", "sample", 0.5))
    assert view.fraction() == pytest.approx(0.75 * 0.85)
    view.finished({"key": "a", "status": "complete", "timing": {}})
    view.finished({"key": "b", "status": "failed", "error": "ValueError: x"})
    assert view.fraction() == 1 and view.left() == 0 and view.failed == ["b"]


def test_clock():
    assert [clock(s) for s in (5, 245, 3723, 10**6)] == ["0:05", "4:05", "1:02:03", "12 days"]


def test_brackets_in_names_and_errors_stay():
    file, error = io.StringIO(), "ValueError: [red]x[/] in [1, 2] :boom:"
    view = Progress(screen(file=file, force_terminal=True), {"a": "[b]arm[/b]"}, {"a": 1.0})
    view.said("[bold]a line[/bold] of 3")
    view.finished({"key": "a", "status": "failed", "error": error})
    assert file.getvalue() == f"[bold]a line[/bold] of 3\n[  1/1] [b]arm[/b]: failed: {error}\n"
