"""The cores that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Their number: of a job, where the system restricts it, else of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
