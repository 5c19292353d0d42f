"""The files of a data set of Hugging Face's library `datasets`: opened, and divided into splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cabench.errors import DataMissing, one_line
from cabench.runtime.cache import data_folder

if TYPE_CHECKING:
    from datasets import Dataset as Table

SOURCE = "huggingface"
TRAIN, TESTS = "train", ("test", "validation", "val", "valid")
Parts = dict[str, "Table"]  # "train" and "test", or "" for a data set with one split


@contextmanager
def one_line_errors(path: str) -> Iterator[None]:
    """The library's errors, which depend on the format, as DataMissing that names the data set."""
    try:
        yield
    except DataMissing:
        raise
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise DataMissing(
            f"{SOURCE}: {path} cannot be read: {reason}; expected a folder that save_to_disk wrote "
            "or that load_dataset reads, or the name of a data set on the hub"
        ) from error


def read_parts(path: str, config: str | None, revision: str | None) -> tuple[Parts, list[str]]:
    """The splits in use, and notes on those left out; opens files, decodes nothing."""
    try:
        import datasets
    except ImportError:
        raise DataMissing(f"{SOURCE}: no package 'datasets'; pip install 'cabench[hf]'") from None
    datasets.disable_progress_bars()
    saved = any(os.path.isfile(f"{path}/{file}") for file in ("dataset_dict.json", "state.json"))
    content = (
        datasets.load_from_disk(path)
        if saved
        else datasets.load_dataset(
            path, config, revision=revision, cache_dir=str(data_folder().resolve() / "datasets")
        )
    )
    splits = (
        {"": content}
        if isinstance(content, datasets.Dataset)
        else {str(name): table for name, table in content.items()}
    )
    test = next((name for name in TESTS if name in splits), None)
    if TRAIN in splits and test is not None:
        parts = {TRAIN: splits.pop(TRAIN), "test": splits.pop(test)}
    elif TRAIN in splits or len(splits) == 1:
        parts = {"": splits.pop(TRAIN if TRAIN in splits else next(iter(splits)))}
    else:
        raise DataMissing(f"{SOURCE}: {path}: expected a split 'train', got {', '.join(splits)}")
    notes = [f"ignored: the split '{name}', {len(table):,} rows" for name, table in splits.items()]
    return parts, notes


def files_below(path: str) -> list[str]:
    """All files below a folder, relative to it, in a fixed order."""
    return sorted(
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    )
