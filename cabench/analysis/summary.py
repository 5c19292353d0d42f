"""The study's table as cells: a row per arm, the evidence in the cell, one precision a column."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from cabench.analysis import notes
from cabench.analysis.labels import count_unit, decimals
from cabench.evidence.frame import by_seed, complete_records, costs, study_arms, tidy
from cabench.evidence.metric import SUPPORT, Metric, primary_metric, study_metrics
from cabench.evidence.statistics import ALPHA, numbers

Manifest = dict[str, Any]
Records = dict[str, dict[str, Any]]
FLOOR = "real vs real"
NONE = "-"


def summary(manifest: Manifest, records: Records) -> pd.DataFrame:
    """A row per arm in study order, then the floor; every cell but the name is ready to print.

    Columns: arm, status, one per metric ('12.3 ± 0.4 (n=3)'), the paired difference to the baseline
    for the primary metric (with 'better' / 'worse' where Holm's p < .05) and for the held-out loss,
    MACs, params, images/s.
    """
    table = numbers(manifest, records)
    status = notes.status(manifest, records)
    out = pd.DataFrame({"arm": list(status), "status": list(status.values())})
    floor = {"arm": FLOOR, "status": ""}
    for metric in _ordered(manifest):
        out[metric.title], floor[metric.title] = _level_cells(
            table[table["metric"] == metric.name], metric, floor_score(manifest, records, metric)
        )
        if metric.name in (manifest["primary"], SUPPORT):
            rows = table[table["metric"] == metric.name]
            with_word = metric.name == manifest["primary"]
            out[difference_title(metric)] = _difference_cells(rows, metric, with_word)
    for title, cells in _cost(manifest, records, list(status)).items():
        out[title] = cells
    return pd.concat([out, pd.DataFrame([floor])], ignore_index=True).fillna(NONE)


def difference_title(metric: Metric) -> str:
    return f"diff. {metric.title}"


def _ordered(manifest: Manifest) -> list[Metric]:
    """The primary metric first, then the others in study order."""
    first = primary_metric(manifest)
    return [first] + [m for m in study_metrics(manifest).values() if m.name != first.name]


def _level_cells(rows: pd.DataFrame, metric: Metric, floor: float) -> tuple[list[str], str]:
    means, halves = rows["mean"] * metric.scale, (rows["high"] - rows["low"]) / 2 * metric.scale
    places = decimals(means, halves, digits=3 if halves.notna().any() else 4)
    cells = []
    for mean, half, n in zip(means, halves, rows["n"], strict=True):
        spread = f" ± {half:.{places}f}" if half == half else ""
        cells.append(f"{mean:.{places}f}{spread} (n={n})" if n else NONE)
    return cells, f"{floor * metric.scale:.{places}f}" if floor == floor else NONE


def _difference_cells(rows: pd.DataFrame, metric: Metric, with_word: bool) -> list[str]:
    diffs = rows["diff"] * metric.scale
    lows, highs = rows["diff_low"] * metric.scale, rows["diff_high"] * metric.scale
    places = decimals(diffs, (highs - lows) / 2, digits=2)
    cells = []
    for row, diff, low, high in zip(rows.to_dict("records"), diffs, lows, highs, strict=True):
        if row["role"] == "baseline":
            cells.append("baseline")
        elif diff != diff:
            cells.append(NONE)
        else:
            interval = f" [{low:+z.{places}f}, {high:+z.{places}f}]" if low == low else ""
            word = verdict_word(row["p_holm"], row["diff"], metric) if with_word else ""
            cells.append(f"{diff:+z.{places}f}{interval} {word}".rstrip())
    return cells


def verdict_word(p_holm: float, difference: float, metric: Metric) -> str:
    """'better' or 'worse' where Holm's p says so, '' where the difference is unresolved."""
    if not p_holm < ALPHA:
        return ""
    return "better" if metric.is_better(difference) else "worse"


def floor_score(manifest: Manifest, records: Records, metric: Metric) -> float:
    """The score of a disjoint real set; NaN where no trial says."""
    done = complete_records(manifest, records)
    found = [(r.get("protocol", {}).get("floor") or {}).get(metric.name) for r in done]
    found = [value for value in found if value is not None]
    return float(np.mean(found)) if found else float("nan")


def _cost(manifest: Manifest, records: Records, arms: list[str]) -> dict[str, list[str]]:
    table = costs(manifest, records).set_index("arm").loc[arms]
    size, unit = count_unit(table["macs"])
    cells = {_with_unit("MACs", unit): _counts(table["macs"] / size)}
    if (table["conditioning_macs"] > 0).any():
        cells[_with_unit("conditioning MACs", unit)] = _counts(table["conditioning_macs"] / size)
    size, unit = count_unit(table["params"])
    cells[_with_unit("params", unit)] = _counts(table["params"] / size)
    cells["images/s"] = [f"{r:,.0f}" if r == r else NONE for r in table["images_per_s"]]
    return cells


def _with_unit(title: str, unit: str) -> str:
    return f"{title} ({unit})" if unit else title


def _counts(values: pd.Series) -> list[str]:
    places = decimals(values, [])
    return [f"{v:,.{places}f}" if v == v else NONE for v in values]


def guidance(manifest: Manifest, records: Records) -> pd.DataFrame:
    """Other guidance values beside the primary one, same seeds; empty when none was measured.

    A row per arm x guidance: arm, guidance, seeds, then per metric 'primary guidance -> this one'.
    """
    frame = tidy(manifest, records)
    metrics = study_metrics(manifest)
    found = sorted({m for m in frame["metric"] if re.fullmatch(r".+/g[\d.]+", m)})
    values = sorted({m.rsplit("/g", 1)[1] for m in found}, key=float)
    rows = []
    for arm in (entry["name"] for entry in study_arms(manifest)):
        for value in values:
            row = {"arm": arm, "guidance": value, "seeds": ""}
            for metric in metrics.values():
                name = f"{metric.name}/g{value}"
                other = by_seed(frame, arm, name) if name in found else ()
                if not len(other):
                    continue
                same = by_seed(frame, arm, metric.name).reindex(other.index)
                pair = [same.mean() * metric.scale, other.mean() * metric.scale]
                places = decimals(pair, [])
                row[metric.title] = f"{pair[0]:.{places}f} -> {pair[1]:.{places}f}"
                row["seeds"] = ", ".join(map(str, other.index))
            if row["seeds"]:
                rows.append(row)
    return pd.DataFrame(rows).fillna(NONE)
