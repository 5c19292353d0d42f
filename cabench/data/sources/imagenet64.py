"""ImageNet at 64x64 (Chrabaszcz et al. 2017, arXiv 1707.08819), from its public npz files.

train_data_batch_1..10.npz and val_data.npz, each with data (N, 12288) uint8 (red, green, blue
planes), labels (N,) from 1 to 1000, and a mean that is not used. They are unpacked once, batch by
batch, into memory-mapped arrays in the folder data/ of the cache. generator-train and judge-train
are 90 and 10 % of each class's training images; report is the validation set.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, fingerprint, stratified
from cabench.errors import DataMissing
from cabench.registry import DATASETS
from cabench.runtime.cache import data_folder
from cabench.runtime.files import atomic_folder, file_hash, read_json, write_json
from cabench.runtime.sealed import Corrupted, changed_files, load_or_make

FACTS = "facts.json"  # the fingerprint, and the sha256 of each file
VERSION, SIDE, CLASSES = 1, 64, 1000
TRAINING, VALIDATION = "train_data_batch_{}.npz", "val_data.npz"
NAMES = "map_clsloc.txt"  # optional class names: 'n02119789 1 kit_fox'
HOW = (
    "get the 64x64 npz files of the downsampled ImageNet from https://image-net.org (needs an "
    "account), and name their folder (`path: DIR`)"
)


@DATASETS.register("imagenet64")
def imagenet64(path: str, flip: bool = True) -> Dataset:
    """ImageNet at 64x64 RGB: the folder of train_data_batch_1..10.npz and val_data.npz."""
    root = Path(path)
    training = [root / TRAINING.format(i) for i in range(1, 11)]
    training = [file for file in training if file.is_file()]
    validation = root / VALIDATION
    if not training or not validation.is_file():
        raise DataMissing(
            f"imagenet64: expected {root / TRAINING.format('1..10')} and {validation}, got "
            f"{len(training)} training files and {int(validation.is_file())} of validation; {HOW}"
        )
    classes = {"label": class_names(root / NAMES)}
    splits, mark = load_or_make(
        data_folder() / f"imagenet64-{stamp([*training, validation])}",
        read=partial(_read, classes),
        make=partial(unpack, training, validation),
        errors=(OSError,),
    )
    return Dataset(
        name="imagenet64",
        licence="ImageNet's terms of access: non-commercial research",
        classes=classes,
        flip=flip,
        splits=splits,
        fingerprint=mark,
    )


def _read(classes: dict[str, list[str]], folder: Path) -> tuple[dict[str, Split], str]:
    """The unpacked splits and their fingerprint; Corrupted if a file has changed.

    The fingerprint of the 15 GB is computed only once; later each file's own hash is checked.
    """
    names = [f"{name}{suffix}.npy" for name in SPLITS for suffix in ("", "-label")]
    facts = folder / FACTS
    known = read_json(facts) if facts.exists() else {}
    if not isinstance(known, dict) or changed_files(folder, known.get("files", {})):
        raise Corrupted(f"{folder} is corrupted")
    splits = {
        name: Split(
            np.load(folder / f"{name}.npy", mmap_mode="c"),
            {"label": np.load(folder / f"{name}-label.npy")},
        )
        for name in SPLITS
    }
    if "files" not in known:
        hashes = {name: file_hash(folder / name) for name in names}
        known = {"fingerprint": fingerprint(splits, classes), "files": hashes}
        write_json(facts, known)
    return splits, known["fingerprint"]


def stamp(files: list[Path]) -> str:
    """16 hex digits from the files' names, lengths and modification times."""
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(json.dumps([VERSION, stats]).encode()).hexdigest()[:16]


def class_names(path: Path) -> list[str]:
    """Class names by label; numbers where the optional file has none."""
    names = [str(label) for label in range(1, CLASSES + 1)]
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            words = line.split()
            if len(words) == 3 and words[1].isdigit() and 1 <= int(words[1]) <= CLASSES:
                names[int(words[1]) - 1] = words[2].replace("_", " ")
    return names


def read_array(path: Path, name: str) -> np.ndarray:
    """An array of an npz file; DataMissing if it cannot be read."""
    try:
        with np.load(path) as file:
            return np.asarray(file[name])
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError) as error:
        raise DataMissing(f"imagenet64: {path}: '{name}' cannot be read ({error}); {HOW}") from None


def read_labels(path: Path) -> np.ndarray:
    """The labels (N,) int64 of a file, from 0 to 999."""
    labels = read_array(path, "labels").astype(np.int64)
    if labels.ndim != 1 or not len(labels) or labels.min() < 1 or labels.max() > CLASSES:
        raise DataMissing(f"imagenet64: {path}: expected labels from 1 to {CLASSES}; {HOW}")
    return labels - 1


def read_images(path: Path, labels: int) -> np.ndarray:
    """The images (N, 3, 64, 64) uint8 of a file; DataMissing unless N is `labels`."""
    rows = read_array(path, "data")
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3 * SIDE**2:
        raise DataMissing(
            f"imagenet64: {path}: expected uint8 rows of {3 * SIDE**2}, got {rows.dtype} "
            f"{rows.shape}; {HOW}"
        )
    if len(rows) != labels:
        raise DataMissing(f"imagenet64: {path}: {len(rows)} images but {labels} labels; {HOW}")
    return rows.reshape(-1, 3, SIDE, SIDE)


def unpack(training: list[Path], validation: Path, folder: Path) -> None:
    """Write each split's images and labels into the new `folder`, one batch at a time."""
    with atomic_folder(folder) as part:
        _unpack_training(training, part)
        labels = read_labels(validation)
        np.save(part / f"{SPLITS[2]}.npy", read_images(validation, len(labels)))
        np.save(part / f"{SPLITS[2]}-label.npy", labels)


def _unpack_training(files: list[Path], folder: Path) -> None:
    """Write generator-train and judge-train, each in the order of the files."""
    batches = [read_labels(file) for file in files]
    labels = np.concatenate(batches)  # (N,)
    split, row = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    arrays = []
    for k, index in enumerate(stratified(labels, (0.9, 0.1))):
        index = np.sort(index)  # so that each file is written front to back
        split[index], row[index] = k, np.arange(len(index))
        np.save(folder / f"{SPLITS[k]}-label.npy", labels[index])
        shape = len(index), 3, SIDE, SIDE
        path = folder / f"{SPLITS[k]}.npy"
        arrays.append(np.lib.format.open_memmap(path, "w+", np.uint8, shape))
    start = 0
    for file, batch in zip(files, batches, strict=True):
        part = slice(start, start + len(batch))
        images = read_images(file, len(batch))
        for k, array in enumerate(arrays):
            array[row[part][split[part] == k]] = images[split[part] == k]
        start = part.stop
    for array in arrays:
        array.flush()
