"""Fashion-MNIST at 16x16: padded to 32x32, averaged over 2x2 (built by scripts/build_fashion16.py).

All 70,000 images, in the splits of `fashion-mnist`. MIT, Zalando SE.
"""

from __future__ import annotations

from cabench.data import packed
from cabench.data.dataset import Dataset
from cabench.data.sources.fashion_mnist import fashion
from cabench.registry import DATASETS


@DATASETS.register("fashion16")
def fashion16() -> Dataset:
    """Fashion-MNIST's 70,000 images at 16x16 grey; inside the package."""
    arrays, facts = packed.read("fashion16")
    dataset = fashion("fashion16", arrays["images"], arrays["labels"])
    return packed.verified(dataset, facts["fingerprint"])
