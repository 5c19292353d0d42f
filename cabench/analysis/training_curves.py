"""Training curves as tidy frames: losses, and the weights that weight generators produce.

`diffusion/weight_diagnostics.py` defines the measures of generated weights.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from cabench.evidence.results import Results
from cabench.records.spec import Json

LOSS_COLUMNS = ["arm", "seed", "images", "kind", "loss", "key"]
WEIGHT_COLUMNS = ["arm", "seed", "images", "site", "measure", "value", "key"]


def loss_frame(results: Results) -> pd.DataFrame:
    """A row per trial x point of its loss curves; `kind` is train or heldout."""
    rows = [
        (trial.arm, trial.seed, images, kind, loss, trial.key)
        for trial in results.manifest.trials
        for kind, images, loss in loss_points(results.curves.get(trial.key, {}))
    ]
    return _frame(rows, LOSS_COLUMNS, value="loss")


def weight_frame(results: Results) -> pd.DataFrame:
    """A row per trial x images x kind of site x measure; trials without generators have none."""
    rows = [
        (trial.arm, trial.seed, images, site, measure, value, trial.key)
        for trial in results.manifest.trials
        for site, measure, images, value in weight_points(results.curves.get(trial.key, {}))
    ]
    return _frame(rows, WEIGHT_COLUMNS, value="value")


def _frame(rows: list[tuple[Any, ...]], columns: list[str], value: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=pd.Index(columns))
    return frame.astype({"seed": int, "images": int, value: float})


def loss_points(curves: Json) -> list[tuple[str, int, float]]:
    """(kind, images, loss) of one trial, 'train' before 'heldout', each in order of images."""
    parts = {"train": curves, "heldout": curves.get("heldout", {})}
    return [
        (kind, images, loss)
        for kind, part in parts.items()
        for images, loss in zip(part.get("images", []), part.get("loss", []), strict=True)
    ]


def weight_points(curves: Json) -> list[tuple[str, str, int, float]]:
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
