"""CIFAR-10 at 32x32: 60,000 colour pictures in 10 classes (Krizhevsky 2009), as torchvision has it.

The folder `cifar-10-batches-py` of the python version: data_batch_1..5, test_batch, batches.meta.
generator-train and judge-train are 45,000 and 5,000 of the official training pictures, 4,500 and
500 of each class; report is the official test set of 10,000.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, stratified
from cabench.errors import DataMissing
from cabench.registry import DATASETS

DOWNLOADED = Path(".cabench/data")
FOLDER = "cifar-10-batches-py"
TRAINING, TEST, META = [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "batches.meta"
HOW = (
    f"get cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpack it and "
    f"name the folder that holds {FOLDER} (`path: DIR`), or let torchvision (`download: true`)"
)


@DATASETS.register("cifar10")
def cifar10(path: str | None = None, download: bool = False, flip: bool = True) -> Dataset:
    """CIFAR-10 at 32x32 RGB: torchvision's folder by path, or a download."""
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
    """The folder of the batches; an explicit `path` is the only one tried."""
    roots = [Path(path)] if path else [DOWNLOADED]
    places = [place for root in roots for place in (root / FOLDER, root)]
    for place in places:
        if (place / META).is_file():
            return place
    note = ""
    if download and not path:
        try:
            from torchvision.datasets import CIFAR10

            CIFAR10(DOWNLOADED, download=True)
            return DOWNLOADED / FOLDER
        except Exception as error:  # no network, a mirror's answer: all end here
            note = f"torchvision's download failed ({' '.join(str(error).split())[:120]}); "
    looked = " and ".join(map(str, places))
    raise DataMissing(f"cifar10: looked for {META} in {looked}, found none; {note}{HOW}")


def read_batches(folder: Path, names: list[str]) -> Split:
    """Pictures (N, 3, 32, 32) and labels of several batches."""
    images, labels = [], []
    for name in names:
        batch = read_batch(folder / name)
        rows = np.asarray(batch.get("data"))
        told = np.asarray(batch.get("labels", []), dtype=np.int64)
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape != (len(told), 3072):
            raise DataMissing(
                f"cifar10: looked for N rows of 3072 bytes and N labels in {folder / name}, found "
                f"{rows.dtype} {rows.shape} and {len(told)} labels; {HOW}"
            )
        images.append(rows.reshape(-1, 3, 32, 32))
        labels.append(told)
    return Split(np.concatenate(images), {"label": np.concatenate(labels)})


def read_batch(path: Path) -> dict[str, Any]:
    """A pickled dictionary of arrays, lists and texts, and nothing else."""
    try:
        with open(path, "rb") as f:
            found = _Plain(f, encoding="latin1").load()
    except FileNotFoundError:
        raise DataMissing(f"cifar10: looked for {path}, found none; {HOW}") from None
    except Exception as error:  # what pickle raises for a damaged file is of many kinds
        raise DataMissing(f"cifar10: {path} doesn't read ({error}); {HOW}") from None
    if not isinstance(found, dict):
        raise DataMissing(f"cifar10: {path} holds no dictionary; {HOW}")
    return found


class _Plain(pickle.Unpickler):
    """Builds NumPy arrays; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
