"""Package data: arrays in `files/<name>.npz`, names and texts in `files/<name>.json`."""

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
    """The arrays and the facts of a packed data set; DataMissing if they cannot be read."""
    arrays, facts = FILES / f"{name}.npz", FILES / f"{name}.json"
    for path in (arrays, facts):
        if not path.is_file():
            raise DataMissing(f"package data: no such file: {path}; {_remedy(name)}")
    try:
        with np.load(arrays) as file:
            return dict(file), json.loads(facts.read_text("utf-8"))
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        size = arrays.stat().st_size
        raise DataMissing(
            f"package data: {arrays} ({size:,} bytes) cannot be read ({error}); {_remedy(name)}"
        ) from error


def verified(dataset: Dataset, expected: str) -> Dataset:
    """`dataset`; DataMissing if its fingerprint is not the one it was built with."""
    if dataset.fingerprint != expected:
        raise DataMissing(
            f"package data: {FILES / f'{dataset.name}.npz'}: expected the fingerprint "
            f"{expected[:12]}, got {dataset.fingerprint[:12]}; {_remedy(dataset.name)}"
        )
    return dataset


def write(name: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write both files; the same input gives the same bytes."""
    FILES.mkdir(exist_ok=True)
    columns: dict[str, Any] = dict(arrays)
    np.savez_compressed(FILES / f"{name}.npz", **columns)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(facts.items())]
    (FILES / f"{name}.json").write_text("{" + ",\n ".join(lines) + "}\n", "utf-8")


def _remedy(name: str) -> str:
    return f"reinstall cabench or run `python scripts/build_{name}.py` in its repository"
