"""Texts from elsewhere, without what a terminal would obey and no encoding could write."""

from __future__ import annotations

import re
from typing import Any

# Control characters, directions of text, and halves of characters that no encoding writes
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(content: Any) -> Any:
    """JSON values whose texts have control characters escaped, but for tabs and line breaks."""
    if isinstance(content, str):
        return CONTROL.sub(lambda match: ascii(match[0])[1:-1], content)
    if isinstance(content, dict):
        return {printable(key): printable(value) for key, value in content.items()}
    if isinstance(content, list):
        return [printable(value) for value in content]
    return content
