"""What a run leaves to look at: table, figures, sample grid, all from manifest and records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cabench import __version__
from cabench.errors import CabenchError
from cabench.store import Store, atomic_path, read_json, write_json

GRID_ROWS = 3  # samples of each class and arm in the grid


def write_outputs(
    manifest: dict[str, Any], records: dict[str, dict[str, Any]], store: Store
) -> list[Path]:
    """Writes table and figures beside the manifest, unless they stand there for these records."""
    folder = store.study_folder(manifest["study"], manifest["scale"])
    content = json.dumps([__version__, manifest, records], sort_keys=True)
    state = hashlib.sha256(content.encode()).hexdigest()
    marker = folder / "outputs.json"
    if marker.exists():
        try:
            held = read_json(marker)
            paths = [folder / name for name in held["files"] if held["of"] == state]
        except (CabenchError, KeyError, TypeError):
            paths = []
        if paths and all(p.exists() for p in paths):
            return paths

    from cabench.analysis import figures, tables

    paths = [folder / "table.csv", folder / "table.md"]
    with atomic_path(paths[0]) as part:
        tables.to_csv(manifest, records, part)
    with atomic_path(paths[1]) as part:
        part.write_text(tables.to_markdown(manifest, records), encoding="utf-8")
    if any(r["status"] == "complete" for r in records.values()):
        found = {key: store.find(key, ".curves.json") for key in records}
        curves = {key: read_json(path) for key, path in found.items() if path is not None}
        paths += figures.forest(folder / "forest", manifest, records)
        paths += figures.curves(folder / "curves", manifest, curves)
        paths += figures.bins(folder / "bins", manifest, records)
        paths += sample_grid(folder / "samples.png", manifest, records, store)
    write_json(marker, {"of": state, "files": [p.name for p in paths]})
    return paths


def sample_grid(path: Path, manifest: dict, records: dict, store: Store) -> list[Path]:
    """A block of rows for each arm: one seed, and in each cell the same label and noise."""
    from cabench.analysis.figures import grid

    keys = {(t["arm"], t["seed"]): t["key"] for t in manifest["trials"]}
    arms = [a["name"] for a in manifest["arms"]]

    def drawn(arm: str, seed: int) -> np.ndarray | None:
        record = records.get(keys.get((arm, seed)))
        sheet = store.find(record["key"], ".png") if record else None
        if sheet is None or record["status"] != "complete":
            return None
        return read_sheet(sheet, record["protocol"]["sheet"])

    for seed in manifest["seeds"]:
        found = {arm: p for arm in arms if (p := drawn(arm, seed)) is not None}
        if found:
            break
    else:
        return []
    rows = min(GRID_ROWS, *(p.shape[1] for p in found.values()))
    record = records[keys[next(iter(found)), seed]]
    sheet = store.find(f"data-{record['spec']['train']['data']['fingerprint'][:16]}", ".png")
    real = None
    if sheet is not None:
        real = read_sheet(sheet, record["protocol"]["sheet"])
        rows = min(rows, real.shape[1])
        real = real[:, :rows].reshape(-1, *real.shape[2:])
    samples = {a: p[:, :rows].reshape(-1, *p.shape[2:]) for a, p in found.items()}
    labels = [name for name in manifest["classes"]["label"] for _ in range(rows)]
    return grid(path, arms, samples, labels, real)


def readable_picture(path: Path) -> bool:
    """Is the PNG there, and is each of its parts whole (they carry checksums)?"""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.verify()
        return True
    except (OSError, SyntaxError):  # what Pillow raises for a damaged PNG
        return False


def read_sheet(path: Path, layout: dict[str, int]) -> np.ndarray:
    """The pictures of a record's sheet, (columns, rows, C, H, W) uint8."""
    from PIL import Image

    try:
        sheet = np.asarray(Image.open(path))
    except (OSError, SyntaxError) as error:
        raise CabenchError(
            f"{path} is damaged ({error}): `cabench run` makes it again"
        ) from None
    height, width = layout["height"], layout["width"]
    shape = (sheet.shape[0] // height, height, sheet.shape[1] // width, width, -1)
    return sheet.reshape(shape).transpose(2, 0, 4, 1, 3)
