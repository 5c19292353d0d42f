"""The command line as the tests call it: in this process, or in a process of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

CALL = [sys.executable, "-m", "cabench"]


class Done(NamedTuple):
    """A finished command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def cabench(*words: Any) -> Done:
    """Runs `cabench WORDS` in this process."""
    from cabench.commands import entry

    code, out, err = 0, io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["cabench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            entry.main()
        except SystemExit as stop:
            code = stop.code or 0
    return Done(code, out.getvalue(), err.getvalue())


def spawn(*words: Any, cwd: Path | None = None, timeout: float = 600) -> Done:
    """Runs `cabench WORDS` in a process of its own."""
    command = [*CALL, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    return Done(done.returncode, done.stdout, done.stderr)
