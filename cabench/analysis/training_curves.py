"""Training curves as tidy frames: losses, and the weights that weight generators produce.

`diffusion/weight_diagnostics.py` defines the measures of generated weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from cabench.evidence.results import Results
from cabench.records.spec import Json

Line = tuple[tuple[str, ...], Sequence[int], Sequence[float | None]]  # names, images, values
LOSS_COLUMNS = ["arm", "seed", "images", "kind", "loss", "key"]
WEIGHT_COLUMNS = ["arm", "seed", "images", "site", "measure", "value", "key"]


def loss_frame(results: Results) -> pd.DataFrame:
    """A row per trial x point of its loss curves; `kind` is train or heldout."""
    return _frame(results, loss_lines, LOSS_COLUMNS, ["kind"])


def weight_frame(results: Results) -> pd.DataFrame:
    """A row per trial x images x kind of site x measure; trials without generators have none."""
    frame = _frame(results, weight_lines, WEIGHT_COLUMNS, ["site", "measure"])
    # None: a spread relative to a static weight of zero
    return frame.loc[frame["value"].notna().to_numpy()].reset_index(drop=True)


def _frame(
    results: Results,
    lines_of: Callable[[Json], Iterator[Line]],
    columns: list[str],
    names: list[str],
) -> pd.DataFrame:
    """A row per point of every trial's lines; `names` are the columns that name a line."""
    texts: dict[str, list[str]] = {name: [] for name in ("arm", "key", *names)}  # one per line
    seeds, lengths, images, values = [], [], [], []
    for trial in results.manifest.trials:
        for of_line, at, line in lines_of(results.curves.get(trial.key, {})):
            for name, text in zip(texts, (trial.arm, trial.key, *of_line), strict=True):
                texts[name].append(text)
            seeds.append(trial.seed)
            lengths.append(len(line))
            images += at
            values += line
    cells = {name: np.repeat(np.array(each, object), lengths) for name, each in texts.items()}
    cells |= {"seed": np.repeat(np.array(seeds, int), lengths), "images": np.array(images, int)}
    cells[columns[-2]] = np.array(values, float)
    return pd.DataFrame(cells, columns=pd.Index(columns))


def loss_lines(curves: Json) -> Iterator[Line]:
    """The losses of one trial: 'train', then 'heldout'."""
    parts = {"train": curves, "heldout": curves.get("heldout", {})}
    for kind, part in parts.items():
        yield (kind,), part.get("images", []), part.get("loss", [])


def weight_lines(curves: Json) -> Iterator[Line]:
    """The measures of one trial by site; none without weight generators."""
    history = curves.get("weights") or {}
    for site, measures in history.get("sites", {}).items():
        for measure, values in measures.items():
            yield (site, measure), history["images"], values


def norms(weights: pd.DataFrame) -> pd.DataFrame:
    """Rows of arm, seed, images, site, static, generated: the two Frobenius norms side by side."""
    rows, generated = side_by_side(weights, "generated", "static")
    rows = rows.assign(static=generated, generated=rows["value"])
    return rows.reindex(columns=["arm", "seed", "images", "site", "static", "generated"])


def side_by_side(weights: pd.DataFrame, one: str, other: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of one measure, and another's values at the same trial, images and site (or NaN)."""
    rows = weights.loc[(weights["measure"] == one).to_numpy()]
    others = weights.loc[(weights["measure"] == other).to_numpy()]
    index = ["arm", "seed", "images", "site"]
    values = others.drop_duplicates(index).set_index(index)["value"]
    return rows, values.reindex(pd.MultiIndex.from_frame(rows[index])).to_numpy()
