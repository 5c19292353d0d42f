"""What the weight generators made while training, as tidy rows; diagnostics.py has the measures."""

from __future__ import annotations

from typing import Any

import pandas as pd

COLUMNS = ["arm", "seed", "images", "site", "measure", "value", "key"]


def generated_rows(manifest: dict[str, Any], curves: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per trial x images x kind of site x measure; none of trials without generators."""
    rows = [
        (trial["arm"], trial["seed"], images, site, measure, value, trial["key"])
        for trial in manifest["trials"]
        for site, measure, images, value in weight_points(curves.get(trial["key"]) or {})
    ]
    types = {"seed": int, "images": int, "value": float}
    return pd.DataFrame(rows, columns=COLUMNS).astype(types)


def norms(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of arm, seed, images, site, static, generated."""
    chosen = rows[rows["measure"].isin(["static", "generated"])]
    index = ["arm", "seed", "images", "site"]
    wide = chosen.pivot_table(index=index, columns="measure", values="value", sort=False)
    return wide.reindex(columns=["static", "generated"]).reset_index()


def weight_points(curve: dict[str, Any]) -> list[tuple[str, str, int, float]]:
    """(site, measure, images, value) of one trial's curves; curves of older versions have none."""
    history = curve.get("weights") or {}
    return [
        (site, measure, images, value)
        for site, measures in (history.get("sites") or {}).items()
        for measure, values in measures.items()
        for images, value in zip(history["images"], values, strict=True)
        if value is not None  # a spread beside a static weight of zero
    ]
