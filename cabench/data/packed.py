"""Package data: `files/<name>.npz` holds arrays, `files/<name>.json` beside it names and texts."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data.dataset import Dataset
from cabench.errors import DataMissing

FILES = Path(__file__).parent / "files"


def read(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the facts of a packed set."""
    arrays, facts = FILES / f"{name}.npz", FILES / f"{name}.json"
    for path in (arrays, facts):
        if not path.is_file():
            raise DataMissing(f"{_looked_for(path)} found none; {_how(name)}")
    try:
        with np.load(arrays) as file:
            return dict(file), json.loads(facts.read_text("utf-8"))
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise DataMissing(
            f"{_looked_for(arrays)} found one of {arrays.stat().st_size:,} bytes "
            f"that doesn't read ({error}); {_how(name)}"
        ) from error


def verified(dataset: Dataset, expected: str) -> Dataset:
    """`dataset`, once its content has the fingerprint that was written when it was built."""
    if dataset.fingerprint != expected:
        raise DataMissing(
            f"{_looked_for(FILES / f'{dataset.name}.npz')} found content "
            f"{dataset.fingerprint[:12]}, expected {expected[:12]}; {_how(dataset.name)}"
        )
    return dataset


def write(name: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write both files; the same input gives the same bytes."""
    FILES.mkdir(exist_ok=True)
    np.savez_compressed(FILES / f"{name}.npz", **arrays)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(facts.items())]
    (FILES / f"{name}.json").write_text("{" + ",\n ".join(lines) + "}\n", "utf-8")


def _looked_for(path: Path) -> str:
    return f"package data: looked for {path},"


def _how(name: str) -> str:
    return f"reinstall cabench or run `python scripts/build_{name}.py` in its repository"
