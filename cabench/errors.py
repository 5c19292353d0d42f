"""Errors that a user can mend. Each is one line: what, where, what was found, what is allowed."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOUND = 60  # characters of what was found that a message repeats
LONGEST = 1000  # characters of a message; its parts are cut long before


class CabenchError(Exception):
    """A user's mistake or a missing resource: the command line prints its text, no traceback."""

    def __init__(self, text: object = ""):
        super().__init__(cut(one_line(str(text)), LONGEST))


class DataMissing(CabenchError):
    """A data source is absent or broken; the text says what was looked for and how to get it."""


def one_line(text: str) -> str:
    """`text` with line breaks as blanks and other unprintable characters escaped."""
    text = re.sub(r"\s*[\r\n]\s*", " ", text).strip()
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(value: Any) -> str:
    """What was found, as a message repeats it, in YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return repr(cut(str(value), FOUND))
    return cut(repr(value), FOUND)


def describe(error: BaseException) -> str:
    """'ValueError: ... (training.py:120)': what went wrong, and where for who has to mend it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:1000]} ({Path(last.filename).name}:{last.lineno})"


# What says that the disk or a permission failed, not an arm
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def disk_fault(error: OSError, goes_on: bool = True) -> str:
    """'FILE: No space left on device; ...': a full disk, a read-only folder, no permission."""
    where = f"{error.filename}: " if error.filename else ""
    kept = "; what is finished is kept, the same command goes on" if goes_on else ""
    return f"{where}{error.strerror or error}{kept}"
