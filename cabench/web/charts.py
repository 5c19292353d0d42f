"""The data of a page's charts, as plain JSON. Texts are those of the tables and the PDF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cabench.analysis.figures.arms import mean_over_seeds, where
from cabench.analysis.figures.curves import heldout
from cabench.analysis.figures.forest import limits
from cabench.analysis.figures.weight_curves import PANELS, with_ratio
from cabench.analysis.formatting import (
    effect_decimals,
    effect_text,
    level_text,
    p_text,
)
from cabench.analysis.pareto import pareto_front
from cabench.analysis.summary import Cell, TextTable, difference_title
from cabench.analysis.training_curves import loss_frame, weight_frame
from cabench.errors import CabenchError
from cabench.evidence.arms import ArmResult
from cabench.evidence.design import Design
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA, Estimate
from cabench.records.spec import Json
from cabench.report.document import typeset
from cabench.runtime.files import LOG, finite_or_none, read_json

DIGITS = 5  # significant digits of a point of a curve
COSTS = {
    "macs": "MACs of one forward pass",
    "params": "parameters",
    "time": "seconds of training per 1,000 images",
}
OWN = "each arm's own 95 % interval"


def groups(results: Results) -> dict[str, str]:
    """By arm: 'baseline', 'bound', 'native' (with the native method) or 'alone' (without it)."""
    return {arm: _group(results, arm) for arm in results.arms}


def _group(results: Results, arm: str) -> str:
    if arm == results.manifest.baseline:
        return "baseline"
    if results.is_lower_bound(arm):
        return "bound"
    return "native" if results.has_native(arm) else "alone"


# ---- scores ------------------------------------------------------------------------------------


def tests_at_once(results: Results) -> int:
    """Of how many differences the joint intervals of the primary metric are."""
    return max(row.tests for row in results.compare_arms([results.primary.name]))


def metrics(results: Results, table: TextTable) -> list[Json]:
    """The study's metrics, the primary one first, each with every arm's level and difference.

    A difference has two intervals: the arm's own (low, high), and the one for all arms at once
    (joint). Numbers that the study's table has are written as there; `brackets` says which of the
    intervals they give.
    """
    first = results.primary.name
    names = [first, *(name for name in results.metrics if name != first)]
    printed = {column.title: column.cells for column in table.columns}
    return [_metric(results, results.metrics[name], printed) for name in names]


def _metric(results: Results, metric: Metric, printed: Mapping[str, Sequence[Cell]]) -> Json:
    """A metric's rows by arm; `printed`: the table's columns by title."""
    rows = results.compare_arms([metric.name])
    design = Design.of(results.manifest)
    joint = [design.jointly(r.difference, r.tests).scaled(metric.scale) for r in rows]
    is_joint = bool(printed) and metric.name == results.primary.name
    titles = metric.title, difference_title(metric)
    written = [printed.get(title, (None,) * len(rows)) for title in titles]
    costs = {arm: cost_of(results, arm) for arm in results.arms}
    levels = {row.arm: row.level.mean for row in rows}
    effects = [row.difference.scaled(metric.scale) for row in rows if not row.is_baseline]
    bounds = [row.role == "bound" for row in rows if not row.is_baseline]
    return {
        "name": metric.name,
        "title": typeset(metric.title),
        "higher": metric.higher_is_better,
        "limits": limits(effects, bounds),  # of the forest plot, as in the PDF
        "brackets": "[ ] for all arms at once" if is_joint else "[ ] for this arm alone",
        "rows": {
            row.arm: _row(row, joint[i], metric, *(cells[i] for cells in written))
            for i, row in enumerate(rows)
        },
        "fronts": {
            kind: pareto_front(
                {arm: cost for arm in results.contenders if (cost := costs[arm][kind]) is not None},
                levels,
                metric.higher_is_better,
            )
            for kind in COSTS
        },
    }


def _row(
    row: ArmResult, joint: Estimate, metric: Metric, level_cell: Cell | None, cell: Cell | None
) -> Json:
    level, effect = row.level.scaled(metric.scale), row.difference.scaled(metric.scale)
    level_as = level_cell.text if level_cell else level_text(level, effect_decimals(level))
    effect_as = cell.text if cell else effect_text(effect, effect_decimals(effect))
    both = {"joint": [finite_or_none(joint.low), finite_or_none(joint.high)]}
    return {
        "level": _estimate(level, level_as),
        "effect": both | drawn if (drawn := _estimate(effect, effect_as)) else None,
        "p": typeset(f"{p_text(row.p_holm)} after Holm") if math.isfinite(row.p_holm) else "",
        "decided": bool(row.p_holm < ALPHA),
    }


def _estimate(estimate: Estimate, text: str) -> Json | None:
    if not estimate.n:
        return None
    return {
        "mean": estimate.mean,
        "low": finite_or_none(estimate.low),
        "high": finite_or_none(estimate.high),
        "n": estimate.n,
        "text": typeset(text),
        "seeds": dict(
            zip(map(str, estimate.values.index), map(_rounded, estimate.values), strict=True)
        ),
    }


# ---- cost --------------------------------------------------------------------------------------


def cost_of(results: Results, arm: str) -> dict[str, float | None]:
    """MACs, parameters and seconds of training per 1,000 images; None where not recorded."""
    cost = results.costs[arm]
    time = 1000 / cost.images_per_s if cost.images_per_s > 0 else math.nan
    return {
        "macs": finite_or_none(cost.macs),
        "params": finite_or_none(cost.params),
        "time": finite_or_none(time),
    }


# ---- over training, over size -------------------------------------------------------------------


def curves(results: Results) -> list[Json]:
    """Held-out loss, its difference to the baseline's, and training loss, over images seen."""
    heldout_losses, losses = heldout(results), loss_frame(results)
    baseline = results.manifest.baseline
    base = where(heldout_losses, arm=baseline).drop(columns="arm")
    both = heldout_losses.merge(base, on=["seed", "images"], suffixes=("", "_base"))
    difference = both.assign(loss=both["loss"] - both["loss_base"])
    difference = difference.loc[~difference["arm"].isin([baseline])]
    parts = [
        (f"held-out loss minus {baseline}'s, same seed", difference, True),
        ("held-out loss", heldout_losses, True),
        ("training loss", where(losses, kind="train"), False),
    ]
    return [
        {"title": title, "lines": _lines(frame, "loss", results.arms, with_seeds)}
        for title, frame, with_seeds in parts
        if not frame.empty
    ]


def weights(results: Results) -> list[Json]:
    """Measures of generated weights over images seen: a panel per kind of site."""
    rows = with_ratio(weight_frame(results))
    if rows.empty:
        return []
    return [
        {
            "title": " ".join(title.split()),
            "log": measure not in ("effective_rank", "share_both"),
            "panels": [
                {"site": site, "lines": _lines(where(of_measure, site=site), "value", results.arms)}
                for site in of_measure["site"].unique()
            ],
        }
        for measure, title in PANELS.items()
        if not (of_measure := where(rows, measure=measure)).empty
    ]


def _lines(
    frame: pd.DataFrame, value: str, arms: Sequence[str], with_seeds: bool = False
) -> dict[str, Json]:
    """By arm: images, the mean over seeds, and each seed's values where asked for."""
    lines: dict[str, Json] = {}
    finite = frame.loc[np.isfinite(frame[value].to_numpy(dtype=float))]
    by_arm = dict(list(finite.groupby("arm", sort=False)))
    for arm in (arm for arm in arms if arm in by_arm):
        rows = by_arm[arm]
        mean = mean_over_seeds(rows, value)
        lines[arm] = {"x": [int(x) for x in mean.index], "y": [_rounded(y) for y in mean]}
        if with_seeds and rows["seed"].nunique() > 1:
            lines[arm]["seeds"] = [
                [[int(x), _rounded(y)] for x, y in zip(of["images"], of[value], strict=True)]
                for _, of in rows.groupby("seed")
            ]
    return lines


def lengths(results: Results) -> Json | None:
    """The primary metric and its difference after each length of training; None of one length.

    Intervals are each arm's own, as in the table by length.
    """
    if len(results.by_length) < 2:
        return None
    metric = results.primary
    parts: dict[str, Any] = {"level": {}, "effect": {}}
    for images, after in results.by_length.items():
        for arm, row in _metric(after, metric, {})["rows"].items():
            for part, lines in parts.items():
                if row[part] is not None:
                    lines.setdefault(arm, []).append({"x": images} | row[part])
    spread = "standard deviation" if results.manifest.design.sequential else OWN
    bars = {"effect": OWN, "level": spread}
    texts = {"title": typeset(metric.title), "x": "training images", "bars": bars}
    return texts | {"difference": f"difference to {results.manifest.baseline}"} | parts


def ladder(results: Results, folder: Path) -> Json | None:
    """The effect over training MACs that `cabench ladder` wrote for this study; None without.

    A file that is not one of its form is logged and left out.
    """
    path = folder / f"ladder.{results.manifest.study}" / "ladder.json"
    if not path.is_file():
        return None
    try:
        document = read_json(path)
        if document["study"] != results.manifest.study:
            return None
        lines: dict[str, list[Json]] = {}
        for rung in document["rungs"]:
            for arm in results.arms:
                entry = rung["arms"].get(arm)
                if entry and entry["log_effect"]:
                    lines.setdefault(arm, []).append(_on_rung(rung, entry))
        title = results.metrics[document["metric"]].title_without_arrow
    except (KeyError, TypeError, ValueError, AttributeError, CabenchError) as error:
        LOG.warning("%s is left out: not a ladder (%s)", path, error)
        return None
    if not lines:
        return None
    difference = f"difference to {results.manifest.baseline} in log score, in per cent"
    texts = {"title": typeset(title), "x": "training MACs", "difference": difference}
    texts |= {"bars": {"effect": OWN}}
    return texts | {"effect": lines}


def _on_rung(rung: Json, entry: Json) -> Json:
    """A point of an arm's line: its difference in log score, in per cent."""
    part = entry["log_effect"]
    mean, low, high = (
        None if part[name] is None else 100 * math.expm1(float(part[name]))
        for name in ("mean", "low", "high")
    )
    text = f"{mean:+.1f} %"
    if low is not None and high is not None:
        text += f" [{low:+.1f}, {high:+.1f}]"
    return {
        "x": float(entry["macs"]),
        "mean": mean,
        "low": low,
        "high": high,
        "n": int(part["n"]),
        "text": typeset(f"{text}, scale {rung['scale']}"),
    }


def _rounded(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")
