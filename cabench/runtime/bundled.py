"""The files that come with cabench beside its code: studies, examples and the reference results.

In a clone they are folders of the checkout. A wheel has copies of them in cabench/bundled/, which
setup.py writes when it is built.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def clone(package: Path = PACKAGE) -> Path | None:
    """The root of the clone or source archive that the code is in; None where it is installed."""
    root = package.parent
    return root if (root / "pyproject.toml").is_file() else None


def bundled(folder: str, package: Path = PACKAGE) -> Path:
    """The folder 'studies', 'examples' or 'results/reference'; relative where the clone is here."""
    root = clone(package) or package / "bundled"
    here = Path.cwd() == root
    return Path(folder) if here else root / folder
