"""What every executor is given and tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Event:
    """News of a running trial."""

    key: str
    stage: str  # train, sample, score
    part: float  # of the stage, in [0, 1]
    note: str = ""


class Listener(Protocol):
    """Hears what happens; called from one thread at a time."""

    def started(self, key: str) -> None: ...
    def heard(self, event: Event) -> None: ...
    def finished(self, record: dict[str, Any]) -> None: ...  # key, status, error, timing
