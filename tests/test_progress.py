"""The time left follows the work done, not the count of trials."""

import pytest
from rich.console import Console

from cabench.executors.base import Event
from cabench.progress import Progress, clock


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
