"""What is below a folder: images, what is left out and why, and what cannot be read.

Only file names decide, no file is opened; so the same folder is listed alike on every machine.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cabench.errors import listed, one_line

# Raster images that Pillow reads. Not those of its plugins that read documents, films or data.
# fmt: off
IMAGE_TYPES = frozenset((
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".gif",
    ".icb", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm",
    ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff",
    ".vda", ".vst", ".webp", ".xbm", ".xpm",
))
# fmt: on
METADATA = "metadata.jsonl"
SYNSETS = "LOC_synset_mapping.txt"  # class names, in ImageNet's archive on Kaggle
READ = frozenset({METADATA, SYNSETS})  # for what they say about images

HIDDEN, OTHER_TYPE, NO_FILE = "hidden", "not an image type", "neither a file nor a folder"

Ignored = Counter[tuple[str, str]]  # (reason, file type, where that is the reason) -> files


@dataclass(frozen=True)
class Listing:
    """Everything below a folder; paths are relative to it, with '/' between names."""

    # fmt: off
    images: list[str]       # sorted; strings, since a million Paths take much memory
    folders: list[str]      # that are not hidden, sorted
    metadata: list[str]     # files called METADATA, sorted
    ignored: Ignored
    problems: list[str]     # a line each: names that are not UTF-8, links to nothing, ...
    # fmt: on


def listing(top: str) -> Listing:
    """Everything below `top`, links followed; OSError if `top` itself cannot be listed."""
    images, folders, metadata, problems = [], [], [], []
    ignored: Ignored = Counter()
    pending: list[tuple[str, bool, frozenset[tuple[int, int]]]] = [("", False, frozenset())]
    while pending:
        folder, hidden, above = pending.pop()
        try:
            place = _identity(os.path.join(top, folder))
            names = [] if place in above else _entries(os.path.join(top, folder))
        except OSError as error:
            if not folder:
                raise
            if not hidden:
                problems.append(f"{top}/{folder}: cannot list this folder: {error.strerror}")
            continue
        if place in above and not hidden:
            problems.append(f"{top}/{folder}: links to a folder that it is in; remove the link")
        for entry in names:
            path = f"{folder}/{entry.name}" if folder else entry.name
            suffix = os.path.splitext(entry.name)[1].lower()
            kind = _kind(entry)
            if kind == "folder":
                below_hidden = hidden or is_hidden(entry.name)
                if not below_hidden and not is_utf8(entry.name):
                    problems.append(f"{top}/{path}: the folder's name is not UTF-8; rename it")
                    continue
                pending.append((path, below_hidden, above | {place}))
                if not below_hidden:
                    folders.append(path)
            elif hidden or is_hidden(entry.name):
                ignored[HIDDEN, ""] += 1
            elif problem := PROBLEMS.get(kind):
                problems.append(f"{top}/{path}: {problem}")
            elif kind == "special":
                ignored[NO_FILE, ""] += 1
            elif entry.name == METADATA:
                metadata.append(path)
            elif suffix not in IMAGE_TYPES:
                if entry.name not in READ:
                    ignored[OTHER_TYPE, suffix or "no suffix"] += 1
            elif not is_utf8(entry.name):
                problems.append(f"{top}/{path}: the file's name is not UTF-8; rename it")
            else:
                images.append(path)
    lines = sorted(map(one_line, problems))
    return Listing(sorted(images), sorted(folders), sorted(metadata), ignored, lines)


PROBLEMS = {  # by the kind of an entry
    "dangling": "links to a file that does not exist; restore the file or remove the link",
    "unreadable": "cannot be looked at: a loop of links, or no permission",
}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    """'folder', 'file', 'special' (a pipe, a device), 'dangling' or 'unreadable'."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "special" if os.path.exists(entry.path) else "dangling"
    except OSError:
        return "unreadable"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def is_utf8(name: str) -> bool:
    """Whether a name from the file system is text in UTF-8."""
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False


def summary(ignored: Mapping[tuple[str, str], int]) -> str | None:
    """'ignored 589 files: 500 hidden, 89 not an image type (.pdf, .txt)'; None if there are none.

    The most frequent reason and type come first.
    """
    reasons: Counter[str] = Counter()
    types: dict[str, list[str]] = {}
    for (reason, kind), count in sorted(ignored.items(), key=lambda item: (-item[1], item[0])):
        reasons[reason] += count
        types.setdefault(reason, []).extend([kind] if kind else [])
    if not reasons:
        return None
    parts = [
        f"{count:,} {reason}" + (f" ({listed(types[reason])})" if types[reason] else "")
        for reason, count in reasons.most_common()
    ]
    total = reasons.total()
    return f"ignored {total:,} {'file' if total == 1 else 'files'}: {', '.join(parts)}"
