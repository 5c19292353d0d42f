"""ImageNet at 64x64 (Chrabaszcz et al. 2017, arXiv 1707.08819), in its public npz format.

train_data_batch_1..10.npz and val_data.npz, each with data (N, 12288) uint8 (red, green, blue
planes), labels (N,) from 1 to 1000, and the mean, which isn't used. They are unpacked once, batch
by batch, into memory-mapped arrays under .cabench/data/. generator-train and judge-train are 90 and
10 % of each class's training pictures, report is the validation set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, fingerprint, stratified
from cabench.data.decoded import CACHE
from cabench.errors import DataMissing
from cabench.registry import DATASETS

VERSION, SIDE, CLASSES = 1, 64, 1000
TRAINING, VALIDATION = "train_data_batch_{}.npz", "val_data.npz"
NAMES = "map_clsloc.txt"  # beside them, if it is there: 'n02119789 1 kit_fox'
HOW = (
    "get the 64x64 npz files of the downsampled ImageNet from https://image-net.org (an account is "
    "needed), and name their folder (`path: DIR`)"
)


@DATASETS.register("imagenet64")
def imagenet64(path: str, flip: bool = True) -> Dataset:
    """ImageNet at 64x64 RGB: the folder of train_data_batch_1..10.npz and val_data.npz."""
    root = Path(path)
    training = [root / TRAINING.format(i) for i in range(1, 11)]
    training = [file for file in training if file.is_file()]
    validation = root / VALIDATION
    if not training or not validation.is_file():
        looked = f"{root / TRAINING.format('1..10')} and {validation}"
        raise DataMissing(f"imagenet64: looked for {looked}, found {len(training)} of them; {HOW}")
    made = CACHE / f"imagenet64-{stamp([*training, validation])}"
    if not made.is_dir():
        unpack(training, validation, made)
    classes = {"label": class_names(root / NAMES)}
    try:
        splits = {
            name: Split(
                np.load(made / f"{name}.npy", mmap_mode="c"),
                {"label": np.load(made / f"{name}-label.npy")},
            )
            for name in SPLITS
        }
    except (OSError, ValueError) as error:
        raise DataMissing(
            f"imagenet64: {made} is damaged ({error}); delete it to have it unpacked again"
        ) from None
    facts = made / "facts.json"
    if not facts.exists():
        facts.write_text(json.dumps({"fingerprint": fingerprint(splits, classes)}), "utf-8")
    return Dataset(
        name="imagenet64",
        licence="ImageNet's terms of access: non-commercial research",
        classes=classes,
        flip=flip,
        splits=splits,
        fingerprint=json.loads(facts.read_text("utf-8"))["fingerprint"],
    )


def stamp(files: list[Path]) -> str:
    """16 hex digits that change with a file's name, length or time of change."""
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(json.dumps([VERSION, stats]).encode()).hexdigest()[:16]


def class_names(path: Path) -> list[str]:
    """By label; their numbers where no list of names lies beside the pictures."""
    names = [str(label) for label in range(1, CLASSES + 1)]
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            words = line.split()
            if len(words) == 3 and words[1].isdigit() and 1 <= int(words[1]) <= CLASSES:
                names[int(words[1]) - 1] = words[2].replace("_", " ")
    return names


def read_npz(path: Path, part: str) -> np.ndarray:
    """`data` as (N, 3, 64, 64) uint8, or `labels` as (N,) from 0 to 999."""
    try:
        with np.load(path) as file:
            found = file[part]
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError) as error:
        raise DataMissing(f"imagenet64: {path}: '{part}' doesn't read ({error}); {HOW}") from None
    if part == "labels":
        labels = np.asarray(found).astype(np.int64)
        if labels.ndim != 1 or not len(labels) or labels.min() < 1 or labels.max() > CLASSES:
            raise DataMissing(f"imagenet64: {path}: looked for labels from 1 to {CLASSES}; {HOW}")
        return labels - 1
    if found.dtype != np.uint8 or found.ndim != 2 or found.shape[1] != 3 * SIDE**2:
        raise DataMissing(
            f"imagenet64: {path}: looked for uint8 rows of {3 * SIDE**2}, found {found.dtype} "
            f"{found.shape}; {HOW}"
        )
    return found.reshape(-1, 3, SIDE, SIDE)


def pictures(path: Path, labels: int) -> np.ndarray:
    """(N, 3, 64, 64) uint8, as many as there are labels."""
    rows = read_npz(path, "data")
    if len(rows) != labels:
        raise DataMissing(f"imagenet64: {path} has {len(rows)} pictures, {labels} labels; {HOW}")
    return rows


def unpack(training: list[Path], validation: Path, made: Path) -> None:
    """Each split's pictures and labels into the new folder `made`; one batch at a time."""
    made.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=made.parent))
    try:
        told = [read_npz(file, "labels") for file in training]
        labels = np.concatenate(told)
        place, of = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
        for k, index in enumerate(stratified(labels, (0.9, 0.1))):
            index = np.sort(index)  # in the files' order, so that writing goes forward
            of[index], place[index] = k, np.arange(len(index))
            np.save(making / f"{SPLITS[k]}-label.npy", labels[index])
        arrays = [
            np.lib.format.open_memmap(
                making / f"{SPLITS[k]}.npy", "w+", np.uint8, (int((of == k).sum()), 3, SIDE, SIDE)
            )
            for k in range(2)
        ]
        start = 0
        for file, some in zip(training, told, strict=True):
            rows, part = pictures(file, len(some)), slice(start, start + len(some))
            for k, array in enumerate(arrays):
                array[place[part][of[part] == k]] = rows[of[part] == k]
            start = part.stop
        for array in arrays:
            array.flush()
        told = read_npz(validation, "labels")
        np.save(making / f"{SPLITS[2]}.npy", pictures(validation, len(told)))
        np.save(making / f"{SPLITS[2]}-label.npy", told)
        making.rename(made)
    finally:
        shutil.rmtree(making, ignore_errors=True)
