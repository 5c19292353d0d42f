"""Latents encoded by `cabench data encode`, memory-mapped, with the images that metrics need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Latents, Split, VaeSource
from cabench.data.encode import CONTENT, FACTS, JOB, SCORED_WITH, VERSION, digest
from cabench.data.shards import Shards
from cabench.errors import CabenchError, DataMissing
from cabench.registry import DATASETS
from cabench.runtime.files import read_json
from cabench.runtime.sealed import changed_files

AGAIN = "delete the file and re-run `cabench data encode` to encode it again"
HOW = "encode them with `cabench data encode SOURCE --vae DIR --out {}`"


@DATASETS.register("latents")
def latents(path: str, vae: str | None = None) -> Dataset:
    """Latents of any data set, encoded by `cabench data encode`; networks train on them."""
    root = Path(path)
    facts = read_facts(root)
    if lines := corrupted_files(root):
        more = f" (and {len(lines) - 1} more: `cabench data check` lists them)" if lines[1:] else ""
        raise DataMissing(f"{lines[0]}{more}; {AGAIN}")
    try:
        splits = {name: _split(root, facts, name) for name in SPLITS}
    except (OSError, ValueError, KeyError) as error:
        raise DataMissing(
            f"latents: {root} is corrupted ({type(error).__name__}: {error}); {AGAIN}"
        ) from None
    return Dataset(
        name=f"latents of {facts['data']}",
        licence=facts["licence"],
        classes=facts["classes"],
        flip=facts["flip"],
        splits=splits,
        fingerprint=facts["fingerprint"],
        vae=VaeSource(vae or facts["vae_path"], **facts["vae"]),
    )


def read_facts(root: Path) -> dict[str, Any]:
    """The content of facts.json; DataMissing if there is none of this version."""
    path = root / FACTS
    if not path.is_file():
        if (root / JOB).is_file():
            raise DataMissing(
                f"latents: {root}: the encoding is not finished; re-run the command to resume"
            )
        raise DataMissing(f"latents: no such file: {path}; {HOW.format(root)}")
    try:
        facts = read_json(path)
        version = facts["version"]
    except (CabenchError, KeyError, TypeError) as error:
        raise DataMissing(f"latents: {path} cannot be read ({error}); {AGAIN}") from None
    if version != VERSION:
        raise DataMissing(
            f"latents: {path}: expected version {VERSION}, got {version}; {HOW.format('NEW')}"
        )
    if digest({name: facts.get(name) for name in CONTENT}) != facts.get("fingerprint"):
        raise DataMissing(f"latents: {path}: its fingerprint is not that of its content; {AGAIN}")
    return facts


def _split(root: Path, facts: dict[str, Any], name: str) -> Split:
    files = facts["splits"][name]
    moments = Shards([root / file for file in files["latents"]])  # (N, F, 2, C, h, w)
    images: Shards | FirstImages = Shards([root / file for file in files["pixels"]])
    if name not in SCORED_WITH:
        images = FirstImages(root, images, len(moments))
    texts = root / f"{name}-texts.json"
    split = Split(
        cast(np.ndarray, images),  # is indexed like one
        {s: np.load(root / f"{name}-stream-{s}.npy") for s in facts["streams"][name]},
        json.loads(texts.read_text("utf-8")) if facts["texts"][name] else {},
        Latents(moments, facts["vae"]["scale"], facts["vae"]["shift"]),
        vectors={
            s: np.load(root / f"{name}-stream-{s}.npy")
            for s in facts.get("vectors", {}).get(name, ())  # older encodings have none
        },
        maps={
            s: np.load(root / f"{name}-map-{s}.npy", mmap_mode="r") for s in facts.get("maps", ())
        },
    )
    arrays = [*split.streams.values(), *split.vectors.values(), *split.maps.values()]
    for column in (images, *arrays, *split.texts.values()):
        if len(column) != len(moments):
            raise ValueError(f"{name}: {len(moments)} latents, but a column of {len(column)} rows")
    return split


class FirstImages:
    """N images of which only the first are stored, beside the latents of all N."""

    def __init__(self, root: Path, stored: Shards, length: int):
        self.root, self.stored = root, stored
        self.shape = (length, *stored.shape[1:])
        self.dtype, self.ndim = stored.dtype, stored.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        sliced = isinstance(index, slice)
        rows = np.arange(*index.indices(len(self))) if sliced else np.asarray(index)
        if ((rows < 0) | (rows >= len(self.stored))).any():
            raise DataMissing(
                f"latents: {self.root} stores only the first {len(self.stored):,} images of "
                f"'{SPLITS[0]}', and the latents of all"
            )
        return self.stored[rows]


def corrupted_files(root: Path) -> list[str]:
    """One line for each file whose sha256 is not that of what was encoded."""
    problems = changed_files(root, read_facts(root)["files"])
    return [f"latents: {root / name}: {text}" for name, text in problems.items()]
