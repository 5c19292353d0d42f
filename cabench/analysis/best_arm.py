"""The arm with the best score, in a sentence that allows for its choice among many."""

from __future__ import annotations

import math

from cabench.analysis.formatting import effect_decimals, effect_text
from cabench.analysis.intervals import excludes_zero, finer_text
from cabench.analysis.summary import verdict_word
from cabench.analysis.verdict_text import ONE_SEED
from cabench.errors import plural
from cabench.evidence.arms import ArmResult
from cabench.evidence.design import Design
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate


def best_arm_text(results: Results) -> str:
    """'Lowest KID of 5 arms: can-3, 2.45; -0.20 [-0.32, -0.09] to the baseline, ...: better; ...'.

    The arm was chosen by its score, so its interval covers for all arms at once, and 'better' needs
    the test after Holm's correction. Arms with a failed seed do not take part: the seeds that are
    left may be their best. '' where fewer than two arms have a score.
    """
    metric = results.primary
    rows = [
        row
        for row in results.compare_arms([metric.name])
        if row.role != "bound" and row.level.n and not results.progress(row.arm).failed
    ]
    if len(rows) < 2:
        return ""
    sign = -1 if metric.higher_is_better else 1
    best = min(rows, key=lambda row: sign * row.level.mean)
    first = f"{'Highest' if metric.higher_is_better else 'Lowest'} {metric.title_without_arrow}"
    first += f" of {plural(len(rows), 'arm')}: {best.arm}, {_level(best, metric)}"
    if best.is_baseline:
        return f"{first}: the baseline; no other arm's mean is better."
    parts = [first, _difference(best, metric, results), _cost(results, best.arm)]
    return "; ".join(filter(None, parts)) + "." + _interval_note(best, results)


def _level(row: ArmResult, metric: Metric) -> str:
    spread = (row.difference if row.difference.n else row.level).scaled(metric.scale)
    return f"{row.level.mean * metric.scale:.{effect_decimals(spread)}f}"


def _difference(row: ArmResult, metric: Metric, results: Results) -> str:
    if not row.difference.n:
        return ""
    own = row.difference.scaled(metric.scale)
    joint = _joint(row, results).scaled(metric.scale)
    shown = effect_text(joint, effect_decimals(own))
    text = f"{shown} to the baseline, {results.manifest.baseline}"
    if row.difference.n == 1:
        return f"{text}: {ONE_SEED}"
    if math.isnan(row.p_holm):
        return f"{text}: not tested"
    if word := verdict_word(row, metric):
        return f"{text}: {word}"
    away = own.mean and not metric.is_better(own.mean)
    return f"{text}: unresolved{', points the other way' if away else ''}"


def _joint(row: ArmResult, results: Results) -> Estimate:
    return Design.of(results.manifest).jointly(row.difference, row.tests)


def _cost(results: Results, arm: str) -> str:
    """'at 1.17 times the MACs and 1.4 times the parameters'; '' without counts."""
    ours, base = (results.costs[name] for name in (arm, results.manifest.baseline))
    ratios = [
        f"{getattr(ours, count) / getattr(base, count):.3g} times the {noun}"
        for count, noun in (("macs", "MACs"), ("params", "parameters"))
        if getattr(base, count) > 0 and not math.isnan(getattr(ours, count))
    ]
    return f"at {' and '.join(ratios)}" if ratios else ""


def _interval_note(row: ArmResult, results: Results) -> str:
    """Why the interval is wide, or missing."""
    if row.tests < 2 or row.difference.n < 2:
        return ""
    if not _joint(row, results).has_interval:
        return f" No interval: {row.difference.n} seeds are too few for {row.tests} differences."
    note = (
        f" The interval covers for all {row.tests} differences at once, since the arm is chosen by "
        "its score."
    )
    if verdict_word(row, results.primary) and not excludes_zero(_joint(row, results)):
        note += f" {finer_text([row.arm], results)}"
    return note
