"""Fashion-MNIST at 16x16 with a map of each image's edges, as a condition of the image's size.

The edges are computed from the images themselves (data/maps.py), as in ControlNet's experiments
with edges (arXiv 2302.05543). 30 % of the pixels are edges.
"""

from __future__ import annotations

import dataclasses

from cabench.data.dataset import Dataset
from cabench.data.maps import EDGES, edges
from cabench.data.sources.fashion16 import fashion16
from cabench.registry import DATASETS


@DATASETS.register("fashion16-edges")
def fashion16_edges() -> Dataset:
    """Fashion-MNIST at 16x16 with a map of the edges of each image."""
    dataset = fashion16()
    return dataclasses.replace(
        dataset,
        name="fashion16-edges",
        splits={
            name: dataclasses.replace(split, maps={EDGES: edges(split.images)})
            for name, split in dataset.splits.items()
        },
        fingerprint="",
    )
