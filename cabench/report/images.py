"""The figures and sample images of a report, drawn into a folder for the template to place."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cabench.analysis import figures
from cabench.analysis.grids import Grids, sample_grids
from cabench.analysis.processes import Submit
from cabench.errors import plural
from cabench.evidence.results import Results
from cabench.records.sample_grid import read_grid
from cabench.records.schema import Neighbours, Record
from cabench.records.spec import Json
from cabench.records.store import NEAR, Store

CLASSES = 10  # columns of samples, at most
ROWS, FEWER_ROWS = 3, 2  # of samples of an arm
MANY = 12  # arms from which on each has FEWER_ROWS


@dataclass(frozen=True)
class Strip:
    """One arm's images on the page."""

    name: str
    # fmt: off
    file: str | None = None      # None: no images
    text: str = ""               # below the images
    # fmt: on


Started = dict[str, Future[list[Path]]]  # files by figure


def start(folder: Path, submit: Submit) -> Started:
    """Start to draw the figures into the folder; the last ones of the list take longest."""
    return {
        figure.name: submit(figure.draw, folder / figure.name, figures.PAGE)
        for figure in reversed(figures.STUDY_FIGURES)
    }


def draw(results: Results, store: Store, folder: Path, started: Started) -> Json:
    """Draw samples into the folder; return what the template needs to place them and figures."""
    grids = sample_grids(results, store)
    return {
        "samples": None if grids is None else _samples(results, grids, folder),
        "near": _neighbours(results, store, folder),
        "figures": [
            {
                "name": figure.name,
                "drawn": bool(started[figure.name].result()),
                "absent": figure.absent,
            }
            for figure in figures.STUDY_FIGURES
        ],
    }


def _samples(results: Results, grids: Grids, folder: Path) -> Json:
    """A strip per arm with the same seed, classes and noise; or one image with prompts below."""
    arms = [arm.name for arm in results.manifest.arms]
    if grids.unseen is not None:
        (path,) = figures.prompted(folder / "prompts.png", arms, grids)
        return {"prompts": path.name, "seed": grids.seed}
    images = {arm: grids.samples.get(arm) for arm in arms}
    if grids.maps is not None:
        images = dict([grids.maps]) | images
    if grids.real is not None:
        images = {"real images": grids.real} | images
    most = max(ROWS if len(arms) < MANY else FEWER_ROWS, len(set(grids.styles)))
    rows = min(most, *(part.shape[1] for part in images.values() if part is not None))
    count = len(grids.columns)
    columns = np.unique(np.linspace(0, count - 1, min(CLASSES, count)).round().astype(int))
    strips = [
        Strip(name)
        if part is None
        else _strip(name, part[columns, :rows], folder / f"strip{i}.png")
        for i, (name, part) in enumerate(images.items())
    ]
    return {
        "strips": list(map(asdict, strips)),
        "classes": [grids.columns[c] for c in columns],
        "of": count,
        "styles": list(grids.styles[:rows]),
        "seed": grids.seed,
        "prompts": None,
    }


def _strip(name: str, images: np.ndarray, path: Path, text: str = "") -> Strip:
    """Draw images (columns, rows, C, H, W)."""
    figures.strip(path, images)
    return Strip(name, path.name, text)


def _neighbours(results: Results, store: Store, folder: Path) -> Json | None:
    """A strip per arm: samples nearest to a training image, above those images; None without."""
    strips, copies, of = [], [], 0
    for i, arm in enumerate(arm.name for arm in results.manifest.arms):
        measured = [
            (record, record.diagnostics.neighbours)
            for record in results.complete(arm)
            if record.diagnostics and record.diagnostics.neighbours
        ]
        if measured:
            record, first = measured[0]
            of = first.of
            copies += [neighbours.memorised for _, neighbours in measured]
            text = _neighbours_text([neighbours for _, neighbours in measured])
            strips.append(_nearest(arm, record, first, store, folder / f"near{i}.png", text))
    if not strips:
        return None
    return {
        "strips": list(map(asdict, strips)),
        "of": f"{of:,}",
        "summary": f"Near-copies of training images: at most {100 * max(copies):.1f} % of the "
        "samples of a trial; of unseen real images it is 1 % by definition.",
    }


def _neighbours_text(of_seeds: list[Neighbours]) -> str:
    copies = 100 * np.mean([neighbours.memorised for neighbours in of_seeds])
    distance = np.mean([neighbours.ratio for neighbours in of_seeds])
    seeds = plural(len(of_seeds), "seed")
    return f"near-copies {copies:.1f} %; median distance {distance:.2f}; {seeds}"


def _nearest(
    arm: str, record: Record, neighbours: Neighbours, store: Store, path: Path, text: str
) -> Strip:
    grid_path = store.whole_beside(record, NEAR)
    if grid_path is None:
        return Strip(arm, text=text)
    return _strip(arm, read_grid(grid_path, neighbours.sheet), path, text)
