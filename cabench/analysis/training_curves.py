"""Training curves as tidy frames: losses, and the weights that weight generators produce.

`diffusion/weight_diagnostics.py` defines the measures of generated weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from cabench.evidence.results import Results
from cabench.records.spec import Json

Points = list[tuple[Any, ...]]
LOSS_COLUMNS = ["arm", "seed", "images", "kind", "loss", "key"]
WEIGHT_COLUMNS = ["arm", "seed", "images", "site", "measure", "value", "key"]


def loss_frame(results: Results) -> pd.DataFrame:
    """A row per trial x point of its loss curves; `kind` is train or heldout."""
    return _frame(results, loss_points, LOSS_COLUMNS, ["kind", "images", "loss"])


def weight_frame(results: Results) -> pd.DataFrame:
    """A row per trial x images x kind of site x measure; trials without generators have none."""
    names = ["site", "measure", "images", "value"]
    return _frame(results, weight_points, WEIGHT_COLUMNS, names)


def _frame(
    results: Results, points_of: Callable[[Json], Points], columns: list[str], names: list[str]
) -> pd.DataFrame:
    """The points of every trial's curves, which have these names; the last one is a float."""
    lists: dict[str, list[Any]] = {column: [] for column in columns}
    for trial in results.manifest.trials:
        points = points_of(results.curves.get(trial.key, {}))
        for name, values in zip(names, zip(*points, strict=True), strict=False):
            lists[name] += values
        for name in ("arm", "seed", "key"):
            lists[name] += [getattr(trial, name)] * len(points)
    frame = pd.DataFrame(lists, columns=pd.Index(columns))
    return frame.astype({"seed": int, "images": int, names[-1]: float})


def loss_points(curves: Json) -> Points:
    """(kind, images, loss) of one trial, 'train' before 'heldout', each in order of images."""
    parts = {"train": curves, "heldout": curves.get("heldout", {})}
    return [
        (kind, images, loss)
        for kind, part in parts.items()
        for images, loss in zip(part.get("images", []), part.get("loss", []), strict=True)
    ]


def weight_points(curves: Json) -> Points:
    """(site, measure, images, value) of one trial; [] without weight generators."""
    history = curves.get("weights") or {}
    return [
        (site, measure, images, value)
        for site, measures in history.get("sites", {}).items()
        for measure, values in measures.items()
        for images, value in zip(history["images"], values, strict=True)
        if value is not None  # a spread relative to a static weight of zero
    ]


def norms(weights: pd.DataFrame) -> pd.DataFrame:
    """Rows of arm, seed, images, site, static, generated: the two Frobenius norms side by side."""
    chosen = weights.loc[weights["measure"].isin(["static", "generated"])]
    index = ["arm", "seed", "images", "site"]
    wide = chosen.pivot_table(index=index, columns="measure", values="value", sort=False)
    return wide.reindex(columns=["static", "generated"]).reset_index()
