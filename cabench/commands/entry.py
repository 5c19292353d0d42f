"""The entry point of the command line: what becomes of an error, a signal and a warning."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import NoReturn

import typer

from cabench.commands import completion
from cabench.commands.app import app
from cabench.errors import CabenchError, disk_fault, listed, near, one_line, shown
from cabench.runtime.signals import exit_code, stop_on_signals


def main() -> None:
    """Run the command line of `sys.argv`; every expected error is one line and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # trials show up in a log file as they finish; an ASCII terminal gets escapes
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    completion.join_colons(os.environ)
    logging.getLogger("cabench").handlers = [_log_handler()]
    words = sys.argv[1:] or ["--help"]
    try:
        with stop_on_signals():
            code = app(words, prog_name="cabench", standalone_mode=False)
    except typer.TyperException as error:
        _stop(_usage(error))
    except CabenchError as error:
        _stop(str(error))
    except typer.Abort:
        code = exit_code()
    except OSError as error:  # a full disk, a directory without permission
        _stop(disk_fault(error, resumable=words[0] == "run"))
    except Exception as error:
        from cabench.plugins import place_of

        if (text := place_of(error)) is None:
            raise
        _stop(text)
    sys.exit(code)


def _log_handler() -> logging.Handler:
    if "_CABENCH_COMPLETE" in os.environ:  # only completions may be printed
        return logging.NullHandler()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("cabench: %(message)s"))
    handler.addFilter(_Once())
    return handler


class _Once(logging.Filter):
    """Each line once: a command may come across the same corrupted file twice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.seen
        self.seen.add(text)
        return new


def _usage(error: typer.TyperException) -> str:
    """'--sedes: no such option (did you mean '--seeds'?); see cabench run --help'."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "cabench"
    command = context.command if context else None
    text = error.message[:1].lower() + error.message[1:]
    if hasattr(error, "possibilities"):  # an unknown option
        option = getattr(error, "option_name", "")
        known = [name for each in command.params for name in each.opts] if command else []
        text = f"{option}: no such option{near(option, known)}"
    elif (parameter := getattr(error, "param", None)) is not None:
        is_option = parameter.opts[0].startswith("-")
        name = max(parameter.opts, key=len) if is_option else parameter.name.upper()
        text = f"{name}: {text}" if text else f"{name} is missing"
    elif (commands := getattr(command, "commands", None)) and "command" in error.format_message():
        words = [word for word in sys.argv[1:] if not word.startswith("-")]
        word = next(iter(words[len(path.split()) - 1 :]), "")
        text = f"unknown command {shown(word)}{near(word, commands)}; commands: {listed(commands)}"
    return f"{text.rstrip('.')}; see {path} --help"


def _stop(text: str) -> NoReturn:
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(f"cabench: {one_line(text)}", file=sys.stderr)
    sys.exit(2)
