"""Latents that `cabench data encode` made, memory-mapped, with the pictures that scores need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Latents, Split
from cabench.data.encode import FACTS, JOB, SCORED_WITH, VERSION
from cabench.data.shards import Shards
from cabench.errors import DataMissing
from cabench.registry import DATASETS
from cabench.runtime.files import file_hash

HOW = "make them with `cabench data encode SOURCE --vae DIR --out {}`"


@DATASETS.register("latents")
def latents(path: str, vae: str | None = None) -> Dataset:
    """Latents of any source, made by `cabench data encode`; networks train on them."""
    root = Path(path)
    facts = read_facts(root)
    told = facts["vae"]
    try:
        splits = {name: _split(root, facts, name) for name in SPLITS}
    except (OSError, ValueError, KeyError) as error:
        raise DataMissing(
            f"latents: {root} is damaged ({type(error).__name__}: {error}); delete the file and "
            "encode again: what is whole is kept"
        ) from None
    return Dataset(
        name=f"latents of {facts['data']}",
        licence=facts["licence"],
        classes=facts["classes"],
        flip=facts["flip"],
        splits=splits,
        fingerprint=facts["fingerprint"],
        vae={"path": vae or facts["vae_path"], **told},
    )


def read_facts(root: Path) -> dict[str, Any]:
    path = root / FACTS
    if not path.is_file():
        begun = (root / JOB).is_file()
        found = "an encoding that isn't finished: the same command goes on" if begun else "none"
        how = "" if begun else f"; {HOW.format(root)}"
        raise DataMissing(f"latents: looked for {path}, found {found}{how}")
    try:
        facts = json.loads(path.read_text("utf-8"))
        version = facts["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataMissing(f"latents: {path} doesn't read ({error}); encode again") from None
    if version != VERSION:
        raise DataMissing(
            f"latents: {path} has version {version}, this is {VERSION}; {HOW.format('NEW')}"
        )
    return facts


def _split(root: Path, facts: dict[str, Any], name: str) -> Split:
    files = facts["splits"][name]
    moments = Shards([root / file for file in files["latents"]])
    images: Any = Shards([root / file for file in files["pixels"]])
    if name not in SCORED_WITH:
        images = FirstPictures(root, images, len(moments))
    texts = root / f"{name}-texts.json"
    split = Split(
        images,
        {s: np.load(root / f"{name}-stream-{s}.npy") for s in facts["streams"][name]},
        json.loads(texts.read_text("utf-8")) if facts["texts"][name] else {},
        Latents(moments, facts["vae"]["scale"], facts["vae"]["shift"]),
    )
    for column in (images, *split.streams.values(), *split.texts.values()):
        if len(column) != len(moments):
            raise ValueError(f"{name} has {len(moments)} latents and {len(column)} of the rest")
    return split


class FirstPictures:
    """Stands for N pictures of which the first were kept, beside the latents of all."""

    def __init__(self, root: Path, kept: Shards, count: int):
        self.root, self.kept = root, kept
        self.shape = (count, *kept.shape[1:])
        self.dtype, self.ndim = kept.dtype, kept.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        sliced = isinstance(index, slice)
        rows = np.arange(*index.indices(len(self))) if sliced else np.asarray(index)
        if ((rows < 0) | (rows >= len(self.kept))).any():
            raise DataMissing(
                f"latents: {self.root} keeps the first {len(self.kept):,} pictures of "
                f"'{SPLITS[0]}'; of the others only their latents"
            )
        return self.kept[rows]


def damaged_files(root: Path, done: Any = lambda count: None) -> list[str]:
    """One line for each file whose content isn't what was encoded."""
    wrong = []
    for i, (name, expected) in enumerate(read_facts(root)["files"].items()):
        try:
            found = file_hash(root / name)
        except OSError as error:
            wrong.append(f"latents: {root / name}: {error.strerror}")
        else:
            if found != expected:
                wrong.append(f"latents: {root / name} has sha256 {found[:12]}, not {expected[:12]}")
        done(i + 1)
    return wrong
