"""What a run leaves beside its manifest: table, figures and sample grid."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from cabench.analysis.grids import Grids, sample_grids
from cabench.evidence.results import Results
from cabench.records.store import Store
from cabench.runtime.files import atomic_path, read_json, write_json
from cabench.runtime.sealed import read_valid
from cabench.version import __version__

GRID_ROWS = 3  # samples of each class and arm in the grid
MARKER = "outputs.json"  # names the files, and a hash of what they were drawn from


def write_outputs(results: Results, store: Store) -> list[Path]:
    """Write table and figures beside the manifest, unless they are up to date; return the paths."""
    folder = store.study_folder(results.manifest.study, results.manifest.scale)
    state = _state(results)
    drawn_from, names = read_valid(folder / MARKER, _read_marker) or ("", [])
    paths = [folder / name for name in names]
    if drawn_from == state and all(path.exists() for path in paths):
        return paths

    from cabench.analysis import figures, tables

    paths = [tables.to_csv(results, folder / "table.csv"), folder / "table.md"]
    paths += tables.lengths_to_csv(results, folder / "lengths.csv")
    paths += tables.evidence_to_csv(results, folder / "evidence.csv")
    with atomic_path(paths[1]) as part:
        part.write_text(tables.to_markdown(results), encoding="utf-8")
    if results.complete():
        for figure in figures.STUDY_FIGURES:
            paths += figure.draw(folder / figure.name, results, figures.SCREEN)
        samples = draw_samples(folder / "samples.png", results, store)
        paths += samples + [figures.as_pdf(path) for path in samples]
    write_json(folder / MARKER, {"of": state, "files": [path.name for path in paths]})
    return paths


def _state(results: Results) -> str:
    """A hash of the version, the manifest, the records and the paper's metrics."""
    records = {key: record.dump() for key, record in results.records.items()}
    parts = [__version__, results.manifest.dump(), records]
    if results.paper_scores:
        parts.append({name: score.dump() for name, score in results.paper_scores.items()})
    content = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _read_marker(path: Path) -> tuple[str, list[str]]:
    """The state that the files were drawn from, and their names."""
    content = read_json(path)
    return content["of"], content["files"]


def draw_samples(path: Path, results: Results, store: Store) -> list[Path]:
    """Draw a block of rows per arm: one seed, and in each cell the same label and noise."""
    from cabench.analysis.figures import grid, prompted

    grids = sample_grids(results, store)
    arms = [arm.name for arm in results.manifest.arms]
    if grids is None:
        return []
    if grids.unseen is not None:
        return prompted(path, arms, grids)
    most = max(GRID_ROWS, len(set(grids.styles)))
    rows = min(most, *(images.shape[1] for images in _all_images(grids)))

    def first_rows(images: np.ndarray) -> np.ndarray:
        return images[:, :rows].reshape(-1, *images.shape[2:])

    samples = {arm: first_rows(images) for arm, images in grids.samples.items()}
    labels = [name for name in grids.columns for _ in range(rows)]
    real = None if grids.real is None else first_rows(grids.real)
    maps = {} if grids.maps is None else {grids.maps[0]: first_rows(grids.maps[1])}
    return grid(path, arms, samples, labels, real, maps, grids.styles[:rows])


def _all_images(grids: Grids) -> list[np.ndarray]:
    return [*grids.samples.values(), *([] if grids.real is None else [grids.real])]
