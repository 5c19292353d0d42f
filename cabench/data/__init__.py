"""Data sets. Importing this package registers the data sources and loads no torch."""

from __future__ import annotations

from cabench.data import sources  # noqa: F401  (registers)
from cabench.data.dataset import SPLITS, Dataset, Split
from cabench.data.reading import load_dataset, open_catalogue, options_model

__all__ = ["SPLITS", "Dataset", "Split", "load_dataset", "open_catalogue", "options_model"]
