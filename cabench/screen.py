"""What is printed stands as it was written: names and questions may hold [brackets]."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def screen(**options: Any) -> Console:
    """A console that reads no markup, emoji codes or numbers into what it prints."""
    return Console(markup=False, emoji=False, highlight=False, **options)
