"""The images of the sample viewer: sample grids as they lie beside the records, by arm and seed."""

from __future__ import annotations

import base64
from pathlib import Path

from cabench.errors import plural
from cabench.evidence.results import Results
from cabench.records.sample_grid import is_intact
from cabench.records.schema import GridLayout, Record
from cabench.records.spec import Json
from cabench.records.store import NEAR, SHEET, Store

LIMIT = 3_000_000  # bytes of images in a page, before they are written as text


def viewer(results: Results, store: Store) -> Json | None:
    """The grids of the seeds that the most arms have, as many as fit; None without any.

    `sheets` and `near` have a PNG by arm and seed; `real` one by data set, with a layout each.
    """
    records = {
        (trial.arm, trial.seed): record
        for trial in results.manifest.trials
        if (record := results.records.get(trial.key)) and record.complete
    }
    by_seed = {
        seed: {arm: records[arm, seed] for arm in results.arms if (arm, seed) in records}
        for seed in results.manifest.seeds
    }
    content: Json = {"layouts": [], "sheets": {}, "near": {}, "real": {}, "left_out": []}
    room = LIMIT
    for seed, of_seed in sorted(by_seed.items(), key=lambda item: -len(item[1])):
        images = {arm: _images(record, store) for arm, record in of_seed.items()}
        size = sum(path.stat().st_size for pair in images.values() for path in pair.values())
        if size > room and content["sheets"]:
            content["left_out"].append(seed)
            continue
        room -= size
        for arm, pair in images.items():
            _add(content, arm, seed, of_seed[arm], pair, store)
    if not content["sheets"]:
        return None
    names = results.manifest.classes.get("label", ())
    layout = content["layouts"][0]
    prompts = layout["prompts"]
    content["columns"] = list(prompts or names[: layout["columns"]])
    content["kind"] = "prompt" if prompts else "class"
    content["notes"] = notes(content["left_out"])
    return content


def notes(left_out: list[int]) -> str:
    """What the page leaves out for its size."""
    if not left_out:
        return ""
    seeds = ", ".join(map(str, sorted(left_out)))
    return f"Without the images of {plural(len(left_out), 'seed')} ({seeds}), for its size."


def _images(record: Record, store: Store) -> dict[str, Path]:
    """The intact grids beside a record: its samples, and those nearest to training images."""
    paths = {suffix: store.whole_beside(record, suffix) for suffix in record.files}
    return {s: path for s, path in paths.items() if s in (SHEET, NEAR) and path is not None}


def _add(
    content: Json, arm: str, seed: int, record: Record, paths: dict[str, Path], store: Store
) -> None:
    """Put a trial's images into the content."""
    assert record.protocol is not None  # of a complete record
    neighbours = record.diagnostics and record.diagnostics.neighbours
    if SHEET in paths:
        entry = {"image": _data(paths[SHEET]), "layout": _layout(content, record.protocol.sheet)}
        data = str(record.spec.train.data.fingerprint)[:16]
        real = store.find(f"data-{data}", SHEET)
        if real is not None and is_intact(real):
            content["real"].setdefault(data, {"image": _data(real), "layout": entry["layout"]})
            entry["real"] = data
        content["sheets"].setdefault(arm, {})[str(seed)] = entry
    if NEAR in paths and neighbours:
        content["near"].setdefault(arm, {})[str(seed)] = {
            "image": _data(paths[NEAR]),
            "layout": _layout(content, neighbours.sheet),
            "text": f"Near-copies: {100 * neighbours.memorised:.1f} %; "
            f"median distance {neighbours.ratio:.2f}",
        }


def _layout(content: Json, layout: GridLayout) -> int:
    """The index of a layout among those of the page."""
    entry = layout.model_dump(mode="json")
    if entry not in content["layouts"]:
        content["layouts"].append(entry)
    return content["layouts"].index(entry)


def _data(path: Path) -> str:
    """The PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
