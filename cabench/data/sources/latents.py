"""Latents encoded by `cabench data encode`, memory-mapped, with the images that metrics need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Latents, Split, VaeSource
from cabench.data.encode import FACTS, JOB, SCORED_WITH, VERSION
from cabench.data.shards import Shards
from cabench.errors import DataMissing
from cabench.registry import DATASETS
from cabench.runtime.files import file_hash

HOW = "encode them with `cabench data encode SOURCE --vae DIR --out {}`"


@DATASETS.register("latents")
def latents(path: str, vae: str | None = None) -> Dataset:
    """Latents of any data set, encoded by `cabench data encode`; networks train on them."""
    root = Path(path)
    facts = read_facts(root)
    try:
        splits = {name: _split(root, facts, name) for name in SPLITS}
    except (OSError, ValueError, KeyError) as error:
        raise DataMissing(
            f"latents: {root} is corrupted ({type(error).__name__}: {error}); delete the file and "
            "re-run the command to encode it again"
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
        facts = json.loads(path.read_text("utf-8"))
        version = facts["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataMissing(f"latents: {path} cannot be read ({error}); encode again") from None
    if version != VERSION:
        raise DataMissing(
            f"latents: {path}: expected version {VERSION}, got {version}; {HOW.format('NEW')}"
        )
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
    )
    columns = [*split.streams.values(), *split.vectors.values(), *split.texts.values()]
    for column in (images, *columns):
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
    lines = []
    for name, expected in read_facts(root)["files"].items():
        try:
            actual = file_hash(root / name)
        except OSError as error:
            lines.append(f"latents: {root / name}: {error.strerror}")
        else:
            if actual != expected:
                lines.append(
                    f"latents: {root / name}: expected sha256 {expected[:12]}, got {actual[:12]}"
                )
    return lines
