"""Which code writes a document, and when: for documents that are sent around."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cabench.runtime.bundled import PACKAGE, clone

SHORT = 10  # digits of a commit, as shown


def today() -> str:
    """The day, '2026-11-30' (UTC); that of SOURCE_DATE_EPOCH, in seconds, where it is set.

    Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification".
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return now.date().isoformat()


def commit(package: Path = PACKAGE) -> str:
    """The commit of the clone that this code is in; '' where it is installed without one."""
    root = clone(package)
    if root is None or not (root / ".git").exists():
        return ""
    head = _git(root, "rev-parse", f"--short={SHORT}", "HEAD")
    changed = head and _git(root, "status", "--porcelain", "--untracked-files=no", "--", "cabench")
    return f"{head} with local changes" if changed else head


def _git(root: Path, *words: str) -> str:
    """What git prints; '' where it is missing or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
