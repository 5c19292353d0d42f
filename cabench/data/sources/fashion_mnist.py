"""Fashion-MNIST: 70,000 images, 28x28 grey, 10 classes of clothes (Xiao et al. 2017, MIT).

arXiv 1708.07747. The IDX files come from the folder `path`, else from Debian's package
`dataset-fashion-mnist`, else, with `download: true`, through torchvision. All shoes point left, so
`flip` is false.

generator-train and judge-train are 50,000 and 10,000 of the official training images, 5,000 and
1,000 of each class; report is the official test set of 10,000. At 16x16 no two of the 70,000 images
are equal. 388 images of judge-train and 356 of report have one in generator-train within 1 % of
their energy; 5,527 and 5,517 within 5 %. Clothes look alike: the official test set is no further
from the training set than a random split.
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
from cabench.runtime.cache import data_folder, downloads

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RAW = Path("FashionMNIST/raw")  # torchvision's folder of a download
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
    """The data set of all images (70000, 1, H, W) uint8, the official training set first."""
    all_images = Split(images, {"label": labels})
    return Dataset(
        name=name,
        licence="MIT (Zalando SE)",
        classes={"label": CLASSES},
        flip=False,
        splits={split: all_images.take(index) for split, index in split_indices(labels).items()},
    )


def split_indices(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each split's rows among the 60,000 official training images and then 10,000 test images."""
    generator, judge = stratified(labels[:60000], (5 / 6, 1 / 6))
    return dict(zip(SPLITS, (generator, judge, np.arange(60000, 70000)), strict=True))


def find_folder(path: str | None, download: bool) -> Path:
    """The folder with the IDX files; no other place is tried if `path` is given."""
    candidates = [Path(path)] if path else [DEBIAN, *(folder / RAW for folder in downloads())]
    for folder in candidates:
        if _idx(folder, "train-images-idx3-ubyte"):
            return folder
    note = "or set `download: true`"
    if download and not path:
        try:
            from torchvision.datasets import FashionMNIST

            FashionMNIST(data_folder(), download=True)
            return data_folder() / RAW
        except Exception as error:  # of many types: no network, no torchvision, an error page
            note = f"torchvision's download failed ({' '.join(str(error).split())[:120]})"
    raise DataMissing(
        f"fashion-mnist: no train-images-idx3-ubyte[.gz] in {' or '.join(map(str, candidates))}; "
        "get it with `apt-get install dataset-fashion-mnist` or name its folder (`path: DIR`)"
        f"{'' if path else ', ' + note}"
    )


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (70000, 1, 28, 28) uint8 and labels (70000,) int64, official training set first."""
    images, labels = [], []
    for stem, count in (("train", 60000), ("t10k", 10000)):
        images.append(read_idx(folder, f"{stem}-images-idx3-ubyte", (count, 28, 28)))
        labels.append(read_idx(folder, f"{stem}-labels-idx1-ubyte", (count,)))
    return np.concatenate(images)[:, None], np.concatenate(labels).astype(np.int64)


def read_idx(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An IDX file of unsigned bytes: 00 00 08 <rank>, the sizes as >i4, then the values."""
    path = _idx(folder, name)
    how = "reinstall it with `apt-get install --reinstall dataset-fashion-mnist`"
    if path is None:
        raise DataMissing(f"fashion-mnist: no such file: {folder / name}[.gz]; {how}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataMissing(f"fashion-mnist: {path} cannot be read ({error}); {how}") from error
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    if not content.startswith(header) or len(content) != len(header) + math.prod(shape):
        raise DataMissing(
            f"fashion-mnist: {path}: expected the shape {shape}, got {len(content):,} bytes with "
            f"the header {content[: len(header)].hex()}; {how}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _idx(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
