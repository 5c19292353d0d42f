"""Build cabench/data/files/fashion16.* from the IDX files of Fashion-MNIST.

python scripts/build_fashion16.py [--source DIR]     (default: Debian's dataset-fashion-mnist)
"""

from __future__ import annotations

import argparse

import numpy as np

from cabench.data import packed
from cabench.data.sources.fashion_mnist import fashion, find_folder, read_folder


def average_2x2(images: np.ndarray) -> np.ndarray:
    """(N, C, 2H, 2W) uint8 -> (N, C, H, W): the mean of each 2x2 block, halves rounded up."""
    corners = [images[..., y::2, x::2].astype(np.uint16) for y in (0, 1) for x in (0, 1)]
    return ((sum(corners) + 2) // 4).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", help="folder of the IDX files, plain or gzipped")
    images, labels = read_folder(find_folder(parser.parse_args().source, download=False))
    small = average_2x2(np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))))
    dataset = fashion("fashion16", small, labels)
    packed.write(
        "fashion16",
        {"images": small, "labels": labels.astype(np.uint8)},
        {"fingerprint": dataset.fingerprint, "licence": dataset.licence},
    )
    print(f"fashion16: {len(small):,} images, fingerprint {dataset.fingerprint}")


if __name__ == "__main__":
    main()
