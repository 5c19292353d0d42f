"""`cabench ladder`: one study at several scales, over their training MACs."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cabench.analysis import tables
from cabench.analysis.figures.ladder import ladder_figure
from cabench.analysis.formatting import NONE
from cabench.analysis.summary import Cell, Column, Row, TextTable
from cabench.commands.dry_run import show_plan
from cabench.commands.run import show_seeds
from cabench.config.yaml import Document
from cabench.cost.macs import meta_macs
from cabench.errors import CabenchError, listed, unknown
from cabench.evidence.ladder import FORWARD_PASSES, Ladder, Rung, agreement
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate
from cabench.execution.looks import run_until_resolved
from cabench.execution.run import Options, Prepared, execute, prepare
from cabench.runtime.console import screen, to_the_end
from cabench.runtime.files import finite_or_none, read_json, write_json


@to_the_end()
def run_ladder(
    study: Path,
    rungs: Sequence[str],
    options: Options,
    prediction: Path | None = None,
    dry_run: bool = False,
) -> int:
    """Run the study at each scale, the cheapest first; print and write the ladder.

    With `dry_run`, print what each would do, and how far apart they are. `prediction` is a YAML
    file with `order`, the arms from best to worst at the top rung. It is recorded before the top
    rung has a trial, and scored at the end.
    """
    if len(rungs) < 2:
        raise CabenchError(f"--rungs: expected two or more scales, got {listed(rungs)}")
    show_seeds(options)
    prepared = [prepare(study, dataclasses.replace(options, scale=name)) for name in rungs]
    if len({each.plan.scale.scale for each in prepared}) < len(rungs):
        raise CabenchError(f"--rungs: expected different scales, got {listed(rungs)}")
    prepared.sort(key=_macs)
    if dry_run:
        return show_plans(prepared)
    folder = options.results / f"ladder.{prepared[0].plan.study.study}"
    order = _record_prediction(prediction, prepared[-1], folder)
    runs = [Results.of(_execute(study, each).run) for each in prepared]
    ladder = Ladder.of(runs)
    show(ladder, order, console := screen())
    write_json(folder / "ladder.json", as_document(ladder, order))
    paths = [folder / "ladder.json", *ladder_figure(folder / "ladder.png", ladder)]
    console.print("\nWritten:", *(f"  {path}" for path in paths), sep="\n", soft_wrap=True)
    return 1 if any(not record.complete for run in runs for record in run.records.values()) else 0


def show_plans(rungs: Sequence[Prepared]) -> int:
    """Print the plan of each rung, then the rungs' training MACs; return the exit code."""
    console = screen()
    for prepared in rungs:
        show_plan(prepared)
        console.print()
    below = math.nan
    for prepared in rungs:
        macs = FORWARD_PASSES * _macs(prepared)
        text = f"{prepared.plan.scale.scale}: {macs:.3g} training MACs of a trial of "
        text += prepared.plan.study.baseline
        if not math.isnan(below):
            text += f", {macs / below:.2g} times the rung below"
        console.print(text, soft_wrap=True)
        below = macs
    return 0


def _macs(prepared: Prepared) -> float:
    """Expected training MACs of the baseline, to order rungs by."""
    plan = prepared.plan
    forward = meta_macs(plan.models[plan.study.baseline].spec).total
    return float(forward * plan.scale.training.images)


def _execute(study: Path, prepared: Prepared) -> Prepared:
    if prepared.options.until_resolved:
        return run_until_resolved(study, prepared)
    return execute(prepared)


# ---- prediction ---------------------------------------------------------------------------------


def _record_prediction(path: Path | None, top: Prepared, folder: Path) -> list[str] | None:
    """The predicted order of arms, recorded with its hash; None without a prediction.

    CabenchError where the file names other arms than the run, or where the top rung has results.
    """
    recorded = folder / "prediction.json"
    if path is None:
        return read_json(recorded)["order"] if recorded.is_file() else None
    arms = [arm for arm in top.plan.arms if not top.plan.study.arms[arm].bound]
    content = Document.read(path, "prediction").content
    order = list(content.get("order", ())) if isinstance(content, Mapping) else []
    for name in order:
        if name not in arms:
            raise CabenchError(f"{path}: order: {unknown('arm', str(name), arms)}")
    if sorted(order) != sorted(arms):
        raise CabenchError(f"{path}: order: expected every arm once, best first: {listed(arms)}")
    document = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "order": order}
    if recorded.is_file() and read_json(recorded) == document:
        return order
    if len(top.remaining.trials) < len({trial.key for trial in top.plan.all_trials}):
        raise CabenchError(
            f"{path}: scale '{top.plan.scale.scale}' already has results; a prediction is recorded "
            "before its first trial"
        )
    write_json(recorded, document)
    return order


# ---- the ladder as printed ----------------------------------------------------------------------


def show(ladder: Ladder, order: list[str] | None, console: Console) -> None:
    """Print the effects and compute multipliers by rung, and how well rungs predict the top."""
    metric = ladder.top.results.primary
    console.print(
        f"{ladder.top.results.manifest.study}: {metric.title_without_arrow} over training MACs"
    )
    tables.show_table(table(ladder), console)
    console.print(
        f"diff.: difference to {ladder.baseline} in log score, as per cent, with its interval. "
        f"compute: how many times the arm's training MACs {ladder.baseline} needs for the arm's "
        "score, read off its own curve between the rungs; beyond: outside of the measured range.",
        soft_wrap=True,
    )
    for rung in ladder.rungs[:-1]:
        console.print(
            f"{rung.scale} orders {_share(ladder.decision_accuracy(rung))} of the pairs of arms as "
            f"{ladder.top.scale} does",
            soft_wrap=True,
        )
    console.print(
        f"two halves of the seeds of {ladder.top.scale} agree on {_share(ladder.repeatability())}"
    )
    if order is not None:
        ours, below = prediction_scores(ladder, order)
        console.print(
            f"the prediction orders {_share(ours)} of the pairs as {ladder.top.scale} does, "
            f"'same order as the rung below' {_share(below)}",
            soft_wrap=True,
        )


def prediction_scores(ladder: Ladder, order: Sequence[str]) -> tuple[float, float]:
    """Shares of pairs that the prediction, and the rung below the top, order as the top does."""
    ranks = {arm: float(rank) for rank, arm in enumerate(order)}
    arms = [arm for arm in ladder.arms if arm in ranks]
    return agreement(ranks, ladder.top.order(), arms), ladder.decision_accuracy(ladder.rungs[-2])


def table(ladder: Ladder) -> TextTable:
    """A row per arm; per rung its effect in per cent and its compute multiplier."""
    columns = []
    for rung in ladder.rungs:
        effects = [Cell(_percent(rung.effect(arm))) for arm in ladder.arms]
        multipliers = [Cell(_times(ladder, arm, rung)) for arm in ladder.arms]
        macs = rung.macs(ladder.baseline)
        columns += [
            Column(f"{rung.scale}, {macs:.2g} MACs diff. (%)", tuple(effects), together=2),
            Column("compute", tuple(multipliers)),
        ]
    rows = tuple(Row(arm, is_baseline=arm == ladder.baseline) for arm in ladder.arms)
    return TextTable(rows, tuple(columns))


def _percent(effect: Estimate) -> str:
    if not effect.n:
        return NONE
    low, mean, high = (100 * math.expm1(v) for v in (effect.low, effect.mean, effect.high))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]" if effect.has_interval else f"{mean:+.1f}"


def _times(ladder: Ladder, arm: str, rung: Rung) -> str:
    if arm == ladder.baseline:
        return NONE
    estimate = ladder.multiplier(arm, rung)
    if not estimate.n:
        return "beyond"
    text = f"{estimate.mean:.2f}"
    return f"{text} [{estimate.low:.2f}, {estimate.high:.2f}]" if estimate.has_interval else text


def _share(share: float) -> str:
    return NONE if math.isnan(share) else f"{share:.0%}"


def as_document(ladder: Ladder, order: list[str] | None) -> dict[str, Any]:
    """The ladder as JSON: what is printed, unrounded; null where there is no value."""
    rungs = [
        {
            "scale": rung.scale,
            "decision_accuracy": finite_or_none(ladder.decision_accuracy(rung)),
            "arms": {
                arm: {
                    "macs": finite_or_none(rung.macs(arm)),
                    "score": rung.order()[arm],
                    "log_effect": _estimate(rung.effect(arm)),
                    "compute_multiplier": _estimate(ladder.multiplier(arm, rung))
                    if arm != ladder.baseline
                    else None,
                }
                for arm in ladder.arms
            },
        }
        for rung in ladder.rungs
    ]
    document: dict[str, Any] = {
        "study": ladder.top.results.manifest.study,
        "metric": ladder.top.results.primary.name,
        "rungs": rungs,
        "repeatability": finite_or_none(ladder.repeatability()),
    }
    if order is not None:
        document["prediction"] = dict(
            zip(("right", "rung_below_right"), prediction_scores(ladder, order), strict=True)
        ) | {"order": order}
    return document


def _estimate(estimate: Estimate) -> dict[str, Any] | None:
    if not estimate.n:
        return None
    return {
        "mean": estimate.mean,
        "low": finite_or_none(estimate.low),
        "high": finite_or_none(estimate.high),
        "n": estimate.n,
    }
