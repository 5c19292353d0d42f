"""Texts from elsewhere, without what a terminal would obey and no encoding could write."""

from __future__ import annotations

import json
import re
from typing import Any

# Control characters, directions of text, and halves of characters that no encoding writes
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # begin what a spreadsheet computes


def plain_cell(cell: Any) -> Any:
    """The value of a CSV cell, with an apostrophe before a text that a spreadsheet would compute.

    Source: OWASP, "CSV Injection".
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


# Those characters as `json.dumps` writes them
ESCAPED = re.compile(r"\\(?:[bfr]|u00[01]|u007f|u00[89]|u202[a-e]|u206[6-9]|ud[89a-f])")


def printable(content: Any) -> Any:
    """JSON values whose texts have control characters escaped, but for tabs and line breaks."""
    return _escaped(content) if ESCAPED.search(json.dumps(content)) else content


def _escaped(content: Any) -> Any:
    if isinstance(content, str):
        return CONTROL.sub(lambda match: ascii(match[0])[1:-1], content)
    if isinstance(content, dict):
        return {_escaped(key): _escaped(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_escaped(value) for value in content]
    return content
