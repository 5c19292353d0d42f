"""Sample grids: PNG files of sample images beside the records."""

from __future__ import annotations

from pathlib import Path


def is_intact(path: Path) -> bool:
    """Return whether the PNG exists and the checksum of each of its chunks matches."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.verify()
        return True
    except (OSError, SyntaxError):  # raised by Pillow for a corrupted PNG
        return False
