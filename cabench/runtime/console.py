"""Printing to a terminal, a file or a pipe. Text is printed as it is: no markup, no emoji codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from rich.console import Console, RenderableType

CLOSED_PIPE = 128 + 13  # exit code
PLAIN_WIDTH = 120  # columns of text that goes into a file or a pipe, unless $COLUMNS says otherwise
ASCII = str.maketrans({"±": "+-", "↓": "(low)", "↑": "(high)", "─": "-"})


class Screen(Console):
    """A console that ends the command quietly when the reader of its pipe is gone."""

    lasting: ClassVar[bool] = False  # in a block of `to_the_end`
    closed: ClassVar[bool] = False  # its pipe, in such a block

    def on_broken_pipe(self) -> None:
        """Called by rich; SystemExit with the code that a shell gives a process after SIGPIPE."""
        try:
            super().on_broken_pipe()  # so that nothing more is written
        except SystemExit:
            if not Screen.lasting:
                raise SystemExit(CLOSED_PIPE) from None
            Screen.closed = True


@contextmanager
def to_the_end() -> Iterator[None]:
    """A block that goes on when the reader of its pipe is gone, and ends with SystemExit then."""
    Screen.lasting, Screen.closed = True, False
    try:
        yield
    finally:
        Screen.lasting = False
    if Screen.closed:
        raise SystemExit(CLOSED_PIPE)


def screen(**options: Any) -> Screen:
    """A console that interprets no markup, emoji codes or numbers in the text it prints."""
    return Screen(markup=False, emoji=False, highlight=False, **options)


def plain_width() -> int:
    """Columns of text that goes into a file or a pipe: $COLUMNS, else PLAIN_WIDTH."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() else PLAIN_WIDTH


def wide_screen() -> Console:
    """`screen`, which in a file or a pipe is `plain_width` wide, so that tables are not cut."""
    console = screen()
    return console if console.is_terminal else screen(width=plain_width())


def print_to_fit(
    parts: Callable[[int], Sequence[RenderableType]],
    console: Console | None = None,
    width: int | None = None,
) -> None:
    """Print `parts(width)`, one below the other: styled on a terminal, plain text elsewhere."""
    console = console or screen()
    if console.is_terminal:
        console.print(*parts(width or console.width), sep="\n")
        return
    width = width or plain_width()
    try:
        console.file.write(plain_text(parts(width), width, console.encoding))
    except BrokenPipeError:
        console.on_broken_pipe()


def plain_text(parts: Sequence[RenderableType], width: int, encoding: str = "utf-8") -> str:
    """What a terminal of `width` columns would show, without styles.

    An encoding without ± or arrows gets ASCII in their place.
    """
    console = screen(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    text = "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return text.translate(ASCII).encode(encoding, "replace").decode(encoding)


def clock(seconds: float) -> str:
    """'4:05', '1:02:03', or '12 days'."""
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours / 24:,.0f} days"
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"
