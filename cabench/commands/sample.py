"""`cabench sample`: draw from a trained network of the cache, as an image grid and as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import cabench
from cabench.analysis.figures import grid
from cabench.api.conditions import LABEL, used_streams
from cabench.commands.compare import target_of
from cabench.errors import CabenchError, plural, shown
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_path

Value = TypeVar("Value")


def show_samples(
    text: str,
    labels: str | None,  # comma-separated names or numbers; None: every class
    n: int,
    seeds: str,  # of trials, comma-separated
    guidance: str | None,  # values, comma-separated; None: the trial's
    steps: int | None,
    noise: int | None,  # seed of the noise; None: that of the trial
    results: Path,
    cache: Path,
    plugins: Sequence[Path],
    out: Path | None,
    npz: Path | None,
) -> None:
    """Draw for each seed and guidance, write the PNG grid and the arrays, print their paths."""
    target, arm = target_of(text, results)
    values = [None] if guidance is None else listed_values(guidance, float, "--guidance", "2.5")
    blocks: dict[str, np.ndarray] = {}
    names: list[str] = []
    for seed in listed_values(seeds, int, "--seeds", "0"):
        model = cabench.load_model(
            target.study, arm, seed, results=target.directory, cache=cache, plugins=plugins
        )
        chosen = None if labels is None else [name.strip() for name in labels.split(",")]
        for value in values:
            images = cabench.sample(model, chosen, n, guidance=value, steps=steps, seed=noise)
            scale = model.spec.guidance if value is None else value
            blocks[f"seed {seed}, guidance {scale:g}"] = images.numpy()
        names = column_names(model, chosen, len(images) // n)
    columns = list(itertools.chain.from_iterable([name] * n for name in names))
    study = target.study.removesuffix(".yaml").rpartition("/")[2]
    path = out or Path(f"{study}.{arm}.png")
    written = grid(path, list(blocks), blocks, columns)
    if npz is not None:
        with atomic_path(npz) as part, open(part, "wb") as file:
            arrays: dict[str, Any] = {name.replace(", ", "/"): a for name, a in blocks.items()}
            np.savez(file, allow_pickle=False, columns=np.array(columns), **arrays)
        written.append(npz)
    count = sum(map(len, blocks.values()))
    screen().print(f"{plural(count, 'sample')} of {text}", soft_wrap=True)
    screen().print("\nWritten:", *(f"  {file}" for file in written), sep="\n", soft_wrap=True)


def column_names(
    model: cabench.TrainedModel, chosen: Sequence[str] | None, count: int
) -> list[str]:
    """The title of each column: the labels as given, else every class."""
    classes = list(model.classes.get(LABEL, ()))
    if chosen is None:
        unused = LABEL not in used_streams(model.spec.train)
        return ["no condition"] if unused else (classes or list(map(str, range(count))))[:count]
    numbered = {str(number): name for number, name in enumerate(classes)}
    return [name if name in classes else numbered.get(name, name) for name in chosen]


def listed_values(
    text: str, kind: Callable[[str], Value], option: str, example: str
) -> list[Value]:
    """'1,2' -> [1.0, 2.0]; CabenchError for another text."""
    try:
        return list(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError:
        raise CabenchError(
            f"{option}: expected one or several such as {example}, separated by commas, "
            f"got {shown(text)}"
        ) from None
