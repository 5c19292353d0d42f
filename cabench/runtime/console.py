"""What is printed stands as it was written: names and questions may hold [brackets]."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console

PIPED = 120  # columns where no terminal says how many there are


def wide_screen() -> Console:
    """`screen`; into a file or a pipe PIPED columns, so that tables keep their numbers whole."""
    console = screen()
    return console if console.is_terminal or "COLUMNS" in os.environ else screen(width=PIPED)


def screen(**options: Any) -> Console:
    """A console that reads no markup, emoji codes or numbers into what it prints."""
    return Console(markup=False, emoji=False, highlight=False, **options)
