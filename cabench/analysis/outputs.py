"""What a run leaves to look at: table, figures, sample grid, all from manifest and records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cabench.records.store import Store
from cabench.runtime.files import atomic_path, read_json, write_json
from cabench.runtime.sealed import read_valid
from cabench.version import __version__

GRID_ROWS = 3  # samples of each class and arm in the grid


def write_outputs(
    manifest: dict[str, Any], records: dict[str, dict[str, Any]], store: Store
) -> list[Path]:
    """Writes table and figures beside the manifest, unless they stand there for these records."""
    folder = store.study_folder(manifest["study"], manifest["scale"])
    content = json.dumps([__version__, manifest, records], sort_keys=True)
    state = hashlib.sha256(content.encode()).hexdigest()
    marker = folder / "outputs.json"
    of, names = read_valid(marker, _read_marker) or ("", [])
    paths = [folder / name for name in names]
    if of == state and all(p.exists() for p in paths):
        return paths

    from cabench.analysis import figures, tables

    paths = [folder / "table.csv", folder / "table.md"]
    tables.to_csv(manifest, records, paths[0])
    with atomic_path(paths[1]) as part:
        part.write_text(tables.to_markdown(manifest, records), encoding="utf-8")
    if any(r["status"] == "complete" for r in records.values()):
        paths += figures.forest(folder / "forest", manifest, records)
        curves = store.curves(records)
        paths += figures.curves(folder / "curves", manifest, curves)
        paths += figures.bins(folder / "bins", manifest, records)
        paths += figures.weights(folder / "weights", manifest, curves)
        paths += figures.weight_curves(folder / "weight_curves", manifest, curves)
        paths += sample_grid(folder / "samples.png", manifest, records, store)
    write_json(marker, {"of": state, "files": [p.name for p in paths]})
    return paths


def _read_marker(path: Path) -> tuple[str, list[str]]:
    """The state that outputs were written for, and their file names."""
    content = read_json(path)
    return content["of"], content["files"]


def sample_grid(path: Path, manifest: dict, records: dict, store: Store) -> list[Path]:
    """A block of rows for each arm: one seed, and in each cell the same label and noise."""
    from cabench.analysis.figures import grid, prompted
    from cabench.analysis.grids import drawn

    found = drawn(manifest, records, store)
    if found is None:
        return []
    if found.unseen is not None:
        return prompted(path, [a["name"] for a in manifest["arms"]], found)
    sheets = [*found.samples.values(), *([] if found.real is None else [found.real])]
    rows = min(GRID_ROWS, *(sheet.shape[1] for sheet in sheets))

    def images(sheet: np.ndarray) -> np.ndarray:
        return sheet[:, :rows].reshape(-1, *sheet.shape[2:])

    samples = {arm: images(sheet) for arm, sheet in found.samples.items()}
    labels = [name for name in found.classes for _ in range(rows)]
    real = None if found.real is None else images(found.real)
    return grid(path, [a["name"] for a in manifest["arms"]], samples, labels, real)
