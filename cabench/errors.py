"""Errors that a user can mend. Each is one line: what, where, what was found, what is allowed."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOUND = 60  # characters of what was found that a message repeats
LONGEST_WORD = 100  # characters; a longer one resembles nothing
LONGEST_LIST = 200  # characters of the names that a message lists
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


def near(found: str, allowed: Iterable[str]) -> str:
    """A ' (did you mean X?)' suffix when one of `allowed` resembles `found`, else ''."""
    if len(found) > LONGEST_WORD:  # the search takes the square of it
        return ""
    match = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


def listed(names: Iterable[str]) -> str:
    """'a, b, c', cut where it gets long: '..., and 12 more'."""
    names = list(names)
    fits = 0
    for name in names:
        if fits and sum(map(len, names[:fits])) + len(name) > LONGEST_LIST:
            break
        fits += 1
    more = f", and {len(names) - fits} more" if fits < len(names) else ""
    return ", ".join(cut(name, 80) for name in names[:fits]) + more or "none"


def unknown(what: str, found: str, allowed: Iterable[str]) -> str:
    return f"unknown {what} {shown(found)}{near(found, allowed)}; allowed: {listed(allowed)}"


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
