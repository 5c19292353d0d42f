"""Fashion-MNIST at 28x28: 70,000 grey pictures of clothes in 10 classes (Xiao et al. 2017, MIT).

The IDX files come from the folder `path`, else from Debian's package `dataset-fashion-mnist`, else,
with `download: true`, through torchvision. All shoes point left, so mirroring is not allowed.

generator-train and judge-train are 50,000 and 10,000 of the official training pictures, 5,000 and
1,000 of each class; report is the official test set of 10,000. At 16x16 no two of the 70,000
pictures are equal; 388 of judge-train and 356 of report have a picture in generator-train within
1 % of their energy, 5,527 and 5,517 within 5 %: clothes look alike, and the official test set is
no further away than a random cut.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from cabench.data.dataset import SPLITS, Dataset, Split, stratified
from cabench.errors import DataMissing
from cabench.registry import DATASETS

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DOWNLOADED = Path(".cabench/data")
CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


@DATASETS.register("fashion-mnist")
def fashion_mnist(path: str | None = None, download: bool = False) -> Dataset:
    """Fashion-MNIST at 28x28 grey: a folder of IDX files, Debian's package, or a download."""
    images, labels = read_folder(find_folder(path, download))
    return fashion("fashion-mnist", images, labels)


def fashion(name: str, images: np.ndarray, labels: np.ndarray) -> Dataset:
    """The data set from all 70,000 pictures (70000, 1, H, W), official training set first."""
    whole = Split(images, {"label": labels})
    return Dataset(
        name=name,
        licence="MIT (Zalando SE)",
        classes={"label": CLASSES},
        flip=False,
        splits={split: whole.take(index) for split, index in split_indices(labels).items()},
    )


def split_indices(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each split's positions among the 60,000 official training and then 10,000 test pictures."""
    generator, judge = stratified(labels[:60000], (5 / 6, 1 / 6))
    return dict(zip(SPLITS, (generator, judge, np.arange(60000, 70000)), strict=True))


def find_folder(path: str | None, download: bool) -> Path:
    """The first folder that holds the IDX files; an explicit `path` is the only one tried."""
    tried = [Path(path)] if path else [DEBIAN, DOWNLOADED / "FashionMNIST" / "raw"]
    for folder in tried:
        if _idx(folder, "train-images-idx3-ubyte"):
            return folder
    note = "no download asked for (`download: true`)"
    if download and not path:
        try:
            from torchvision.datasets import FashionMNIST

            FashionMNIST(DOWNLOADED, download=True)
            return tried[-1]
        except Exception as error:  # no network, no torchvision, a mirror's answer: all end here
            note = f"torchvision's download failed ({' '.join(str(error).split())[:120]})"
    raise DataMissing(
        f"fashion-mnist: looked for train-images-idx3-ubyte[.gz] in "
        f"{', '.join(map(str, tried))}, found none; {'' if path else note + '; '}"
        "get it with `apt-get install dataset-fashion-mnist` or name a folder (`path: DIR`)"
    )


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (70000, 1, 28, 28) uint8 and labels (70000,), official training set first."""
    images, labels = [], []
    for stem, count in (("train", 60000), ("t10k", 10000)):
        images.append(read_idx(folder, f"{stem}-images-idx3-ubyte", (count, 28, 28)))
        labels.append(read_idx(folder, f"{stem}-labels-idx1-ubyte", (count,)))
    return np.concatenate(images)[:, None], np.concatenate(labels).astype(np.int64)


def read_idx(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An IDX file of unsigned bytes: magic 0x0000 08 <rank>, rank sizes as >i4, then the values."""
    path = _idx(folder, name)
    how = "get it again with `apt-get install --reinstall dataset-fashion-mnist`"
    if path is None:
        raise DataMissing(f"fashion-mnist: looked for {folder / name}[.gz], found none; {how}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataMissing(f"fashion-mnist: {path} doesn't read ({error}); {how}") from error
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    if not content.startswith(header) or len(content) != len(header) + math.prod(shape):
        raise DataMissing(
            f"fashion-mnist: looked for {shape} bytes in {path}, found {len(content):,} bytes "
            f"with header {content[: len(header)].hex()}; {how}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _idx(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
