"""Errors that a user can fix. Each is one line: where, what is wrong, what is allowed."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

LONGEST_VALUE = 60  # characters of a user's value that a message repeats
LONGEST_WORD = 100  # characters; longer words get no "did you mean"
LONGEST_LIST = 200  # characters of the names that a message lists
LONGEST = 1000  # characters of a message

Where = tuple[str | int, ...]  # keys and indices that lead to a part of a document


class CabenchError(Exception):
    """A user's mistake or a missing resource: the command line prints its text, no traceback."""

    def __init__(self, text: object = ""):
        super().__init__(cut(one_line(str(text)), LONGEST))


class ConfigError(CabenchError):
    """A mistake in a study, a scale or another document, at the keys and indices `where`.

    Checks raise it with the name of the document ('study', 'scale', ...) and know no file;
    `config.yaml.Document.locate` adds file and line once, where the file is known.
    """

    def __init__(
        self,
        document: str,
        where: Where,
        text: str,
        path: Path | str | None = None,
        line: int | None = None,
    ):
        self.document, self.where, self.text = document, where, text
        self.path, self.line = path, line
        place = document if path is None else str(path) if line is None else f"{path}:{line}"
        super().__init__(": ".join(filter(None, [place, key_path(where), text])))


class DataMissing(CabenchError):
    """A data set or network is absent or broken; the text says where it belongs and its source."""


def one_line(text: str) -> str:
    """`text` with line breaks as spaces and other unprintable characters escaped."""
    text = re.sub(r"\s*[\r\n]\s*", " ", text).strip()
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def cut(text: str, most: int) -> str:
    """`text`, shortened to `most` characters with '...' at its end."""
    return text if len(text) <= most else text[: most - 3] + "..."


def key_path(where: Where) -> str:
    """'arms.can-3.methods.0'; keys that would be hard to see are quoted."""
    visible = re.compile(r"\S(.*\S)?", re.DOTALL)  # no spaces at either end
    keys = [k if isinstance(k, str) and visible.fullmatch(k) else shown(k) for k in where]
    return cut(".".join(cut(key, LONGEST_VALUE) for key in keys), 3 * LONGEST_VALUE)


def shown(value: object) -> str:
    """A value as messages repeat it, in YAML's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return repr(cut(str(value), LONGEST_VALUE))
    return cut(repr(value), LONGEST_VALUE)


def near(word: str, allowed: Iterable[str]) -> str:
    """' (did you mean 'X'?)' when one of `allowed` resembles `word`, else ''."""
    if len(word) > LONGEST_WORD:  # the search takes quadratic time
        return ""
    match = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
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


def plural(count: int, noun: str, several: str = "") -> str:
    """'1 seed', '3 seeds', '2,000 samples'; `several` is a plural that does not just add an s."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Text such as: unknown method 'cna' (did you mean 'can'?); allowed: ..."""
    allowed = list(allowed)
    return f"unknown {what} {shown(name)}{near(name, allowed)}; allowed: {listed(allowed)}"


def describe(error: BaseException) -> str:
    """'ValueError: ... (training.py:120)': an unexpected error and the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:1000]} ({Path(last.filename).name}:{last.lineno})"


MACHINE = (  # names of errno; a system may lack some
    *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "ENOLCK", "ENXIO"),
    *("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EBUSY", "EINTR", "ENODEV", "ETIMEDOUT"),
    *("ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN"),
    *("EPIPE", "ENOTCONN", "EREMOTEIO"),
)
MACHINE_NUMBERS = {getattr(errno, name) for name in MACHINE if hasattr(errno, name)}


def is_machine_fault(error: BaseException) -> bool:
    """Whether the system says that a disk, a limit, a permission or a connection failed.

    No arm is to blame for that, nor where such a fault is the reason for another error. Memory that
    a tensor does not get is not among them: the arm may be too large.
    """
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, OSError) and reason.errno in MACHINE_NUMBERS:
            return True
        reason = reason.__cause__ or reason.__context__
    return False


def disk_fault(error: OSError, resumable: bool = True) -> str:
    """'FILE: No space left on device; ...'; `resumable`: the command can be resumed."""
    where = f"{error.filename}: " if error.filename else ""
    resume = "; finished trials are kept, re-run the command to resume" if resumable else ""
    return f"{where}{error.strerror or error}{resume}"
