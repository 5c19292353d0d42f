"""Sample sheets beside the records: the same seed, labels and noise for every arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cabench.errors import CabenchError
from cabench.records.sample_grid import read_grid
from cabench.records.schema import GridLayout
from cabench.records.store import SHEET, Store
from cabench.runtime.files import LOG


@dataclass(frozen=True)
class Drawn:
    """Pictures (columns, rows, C, H, W) uint8, a column a class or a prompt; all of one seed."""

    seed: int
    samples: dict[str, np.ndarray]  # by arm, in study order
    real: np.ndarray | None
    classes: list[str]  # of the columns
    unseen: list[bool] | None = None  # of prompts: is the concept unseen? None: columns are classes


def drawn(
    manifest: dict[str, Any], records: dict[str, dict[str, Any]], store: Store
) -> Drawn | None:
    """The sheets of the seed that the most arms have, the first of such; None without any."""
    keys = {(t["arm"], t["seed"]): t["key"] for t in manifest["trials"]}
    arms = [a["name"] for a in manifest["arms"]]
    by_seed = {}
    for seed in manifest["seeds"]:
        found = {arm: _sheet(records.get(keys.get((arm, seed))), store) for arm in arms}
        by_seed[seed] = {arm: sheet for arm, sheet in found.items() if sheet is not None}
    seed = max(by_seed, key=lambda s: len(by_seed[s]), default=None)
    if seed is None or not by_seed[seed]:
        return None
    record = records[keys[next(iter(by_seed[seed])), seed]]
    if "prompts" in (layout := record["protocol"]["sheet"]):  # real pictures, samples below them
        whole = by_seed[seed]
        samples = {arm: sheet[:, 1:] for arm, sheet in whole.items()}
        real = next(iter(whole.values()))[:, :1]
        return Drawn(seed, samples, real, layout["prompts"], layout["unseen"])
    path = store.find(f"data-{record['spec']['train']['data']['fingerprint'][:16]}", SHEET)
    real = None
    if path is not None:
        try:
            real = read_grid(path, GridLayout.model_validate(layout))
        except CabenchError as error:  # no record holds its checksum
            LOG.warning("%s", error)
    columns = len(next(iter(by_seed[seed].values())))  # of many classes a sheet has the first
    return Drawn(seed, by_seed[seed], real, manifest["classes"]["label"][:columns])


def _sheet(record: dict[str, Any] | None, store: Store) -> np.ndarray | None:
    if record is None or record["status"] != "complete":
        return None
    path = store.whole_beside(record, SHEET)
    return (
        None
        if path is None
        else read_grid(path, GridLayout.model_validate(record["protocol"]["sheet"]))
    )
