"""Errors that a user can mend. Each is one line: what, where, what was found, what is allowed."""

from __future__ import annotations

import traceback
from pathlib import Path


class CabenchError(Exception):
    """A user's mistake or a missing resource: the command line prints its text, no traceback."""


class DataMissing(CabenchError):
    """A data source is absent or broken; the text says what was looked for and how to get it."""


def describe(error: BaseException) -> str:
    """'ValueError: ... (training.py:120)': what went wrong, and where for who has to mend it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:1000]} ({Path(last.filename).name}:{last.lineno})"


def disk_fault(error: OSError) -> str:
    """'FILE: No space left on device; ...': a full disk, a read-only folder, no permission."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; what is finished is kept, the same command goes on"
