"""CIFAR-10: 60,000 images, 32x32 RGB, 10 classes (Krizhevsky 2009), in torchvision's folder.

The folder `cifar-10-batches-py` of the Python version: data_batch_1..5, test_batch, batches.meta.
generator-train and judge-train are 45,000 and 5,000 of the official training images, 4,500 and 500
of each class; report is the official test set of 10,000.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, stratified
from cabench.errors import DataMissing
from cabench.registry import DATASETS
from cabench.runtime.cache import data_folder, downloads
from cabench.runtime.files import is_special

FOLDER = "cifar-10-batches-py"
TRAINING, TEST, META = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "batches.meta"
HOW = (
    f"get cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it and "
    f"name the folder that holds {FOLDER} (`path: DIR`), or set `download: true`"
)


@DATASETS.register("cifar10")
def cifar10(path: str | None = None, download: bool = False, flip: bool = True) -> Dataset:
    """CIFAR-10 at 32x32 RGB: torchvision's folder, or a download."""
    folder = find_folder(path, download)
    classes = [str(name) for name in read_batch(folder / META)["label_names"]]
    train, test = (read_batches(folder, names) for names in (TRAINING, TEST))
    generator, judge = stratified(train.streams["label"], (0.9, 0.1))
    parts = (train.take(generator), train.take(judge), test)
    return Dataset(
        name="cifar10",
        licence="none stated; A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images",
        classes={"label": classes},
        flip=flip,
        splits=dict(zip(SPLITS, parts, strict=True)),
    )


def find_folder(path: str | None, download: bool) -> Path:
    """The folder with the batches; no other place is tried if `path` is given."""
    roots = [Path(path)] if path else downloads()
    candidates = [folder for root in roots for folder in (root / FOLDER, root)]
    for folder in candidates:
        if (folder / META).is_file():
            return folder
    note = ""
    if download and not path:
        try:
            from torchvision.datasets import CIFAR10

            CIFAR10(data_folder(), download=True)
            return data_folder() / FOLDER
        except Exception as error:  # of many types: no network, no torchvision, an error page
            note = f"torchvision's download failed ({' '.join(str(error).split())[:120]}); "
    raise DataMissing(f"cifar10: no {META} in {' or '.join(map(str, candidates))}; {note}{HOW}")


def read_batches(folder: Path, names: list[str]) -> Split:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of several batches."""
    images, labels = [], []
    for name in names:
        batch = read_batch(folder / name)
        rows = np.asarray(batch.get("data"))
        label = np.asarray(batch.get("labels", []), dtype=np.int64)
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape != (len(label), 3072):
            raise DataMissing(
                f"cifar10: {folder / name}: expected N rows of 3072 bytes and N labels, got "
                f"{rows.dtype} {rows.shape} and {len(label)} labels; {HOW}"
            )
        images.append(rows.reshape(-1, 3, 32, 32))
        labels.append(label)
    return Split(np.concatenate(images), {"label": np.concatenate(labels)})


def read_batch(path: Path) -> dict[str, Any]:
    """A pickled dictionary of arrays, lists and strings; DataMissing for anything else."""
    try:
        if is_special(path):
            raise ValueError("not a regular file")
        with open(path, "rb") as f:
            content = _SafeUnpickler(f, encoding="latin1").load()
    except FileNotFoundError:
        raise DataMissing(f"cifar10: no such file: {path}; {HOW}") from None
    except Exception as error:  # pickle raises many types for a corrupted file
        raise DataMissing(f"cifar10: {path} cannot be read ({error}); {HOW}") from None
    if not isinstance(content, dict):
        raise DataMissing(f"cifar10: {path}: expected a dictionary; {HOW}")
    return content


class _SafeUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and built-in types only."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")
