"""`cabench try`: a method of one's own beside the control and the best arm, within a time limit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from cabench.analysis.formatting import effect_decimals, effect_text, p_text
from cabench.analysis.verdict_text import evidence_text
from cabench.commands.run import report_command
from cabench.config.study import read_study
from cabench.errors import CabenchError
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate
from cabench.evidence.verdicts import Verdict
from cabench.execution.looks import run_until_resolved
from cabench.execution.run import Options, prepare
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import METHODS
from cabench.runtime.console import screen, to_the_end


@to_the_end()
def try_idea(file: Path, study: Path, options: Options, minutes: float, as_json: bool) -> int:
    """Run each method of a plugin on top of the study's baseline; return 1 when a trial failed.

    The run has a manifest of its own, so that the study's is not touched. Trials of the study's
    arms that are neither committed nor done are run, too.
    """
    names, control = methods_of(file), control_of(study)
    options = dataclasses.replace(
        options,
        arms=tuple(arm_of(name, *control) for name in names),
        plugins=(file,),
        use_reference=True,
        until_resolved=True,
        suffix=f"try-{re.sub(r'[^a-zA-Z0-9_]', '_', file.stem)}",
    )
    # Standard output is the answer alone where a program reads it
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        first = prepare(study, options)
        run = run_until_resolved(study, first, minutes * 60, added_only=True).run
        results = Results.of(run)
    answers = [answer(results, v) for v in results.verdicts if v.claim.added]
    if as_json:
        screen().print(json.dumps(answers, indent=1), soft_wrap=True)
    else:
        _show(results, console := screen())
        console.print(f"\nNext:\n  {report_command(run)}", soft_wrap=True)
    return 1 if any(one["failed"] for one in answers) else 0


def methods_of(file: Path) -> list[str]:
    """The names of the methods that a plugin registers."""
    (plugin,) = read_plugins([file])
    load_plugins([plugin])
    names = [e.name for e in METHODS.entries() if e.__module__ == plugin.module]
    if not names:
        raise CabenchError(f"{file}: registers no method; expected @METHODS.register('name')")
    return names


def control_of(study: Path) -> tuple[str, dict[str, Any]]:
    """The name of a study's baseline, and the arm as written, without what it says about itself."""
    written = read_study(study).study
    arm = written.arms[written.baseline].model_dump(exclude_unset=True)
    return written.baseline, {k: v for k, v in arm.items() if k not in ("about", "extra", "on")}


def arm_of(method: str, baseline: str, control: dict[str, Any]) -> str:
    """The arm of a method on top of the study's baseline, as YAML."""
    arm = control | {"methods": [*control.get("methods", ()), method]}
    return json.dumps({f"{baseline}+{method}": arm})


def best_arm(results: Results) -> str:
    """The arm of the study, the added ones left out, with the best mean of the primary metric."""
    metric = results.primary
    added = {arm.name for arm in results.manifest.arms if arm.added}
    means = {
        row.arm: row.level.mean
        for row in results.compare_arms([metric.name])
        if row.arm not in added and row.role != "bound" and row.level.n
    }
    if not means:
        raise CabenchError("no arm of the study has a complete trial")
    choose = max if metric.higher_is_better else min
    return choose(means, key=lambda arm: means[arm])


def answer(results: Results, verdict: Verdict) -> dict[str, Any]:
    """The verdict on an idea, its differences to its rival, the control and the best arm, its cost.

    The rival is the arm of --against, or else the control.
    """
    arm, best = verdict.claim.better, best_arm(results)
    cost, base = results.costs[arm], results.costs[results.manifest.baseline]
    against = {}
    for rival in dict.fromkeys((verdict.claim.than, results.manifest.baseline, best)):
        difference = _difference(results, arm, rival)
        against[rival] = {
            "difference": _number(difference.mean),
            "interval": [_number(difference.low), _number(difference.high)],
            "n": difference.n,
        }
    return {
        "arm": arm,
        "verdict": verdict.word,
        "reason": verdict.reason,
        "metric": results.primary.label,
        "higher_is_better": results.primary.higher_is_better,
        "p": _number(verdict.p_holm),
        "seeds": verdict.n,
        "seeds_needed": verdict.needed,
        "against": against,
        "best_arm": best,
        "macs_ratio": _number(cost.macs / base.macs),
        "params_ratio": _number(cost.params / base.params),
        "failed": results.progress(arm).failed,
    }


def _difference(results: Results, arm: str, rival: str) -> Estimate:
    name = results.primary.name
    values = results.by_seed(arm, name), results.by_seed(rival, name)
    return Design.of(results.manifest).difference(*values)


def _number(value: float) -> float | None:
    return None if value != value else value


def _show(results: Results, console: Console) -> None:
    best, metric = best_arm(results), results.primary
    for verdict in results.verdicts:
        if not verdict.claim.added:
            continue
        one = answer(results, verdict)
        p = f" ({p_text(verdict.p_holm)} after Holm)" if verdict.is_tested else ""
        console.print(f"{one['arm']}: {verdict.word}{p}", soft_wrap=True)
        console.print(f"  {evidence_text(verdict, results.metrics)}", soft_wrap=True)
        difference = _difference(results, verdict.claim.better, best).scaled(metric.scale)
        if difference.n and best != verdict.claim.than:
            text = effect_text(difference, effect_decimals(difference))
            console.print(
                f"  to the best arm, {best}: {metric.title_without_arrow} {text}, n = "
                f"{difference.n}; that arm was chosen by its mean, so this is no test",
                soft_wrap=True,
            )
        if one["macs_ratio"]:
            console.print(
                f"  cost: {one['macs_ratio']:.3g} times the MACs, {one['params_ratio']:.3g} times "
                "the parameters of the control",
                soft_wrap=True,
            )
        for line in results.failures(verdict.claim.better):
            console.print(f"  failed: {line}", soft_wrap=True)
