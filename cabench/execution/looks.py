"""Runs a study look by look: seeds are added to the arms of claims that are still open.

Each look follows from the records alone, so the same command continues a run that was stopped, and
trains nothing where all is decided.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cabench.errors import CabenchError, plural
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.stopping import smallest_effect
from cabench.evidence.verdicts import Verdict
from cabench.execution.earlier import seen_seeds
from cabench.execution.run import Prepared, execute, prepare
from cabench.runtime.console import clock, screen


@dataclass
class Ledger:
    """What each look did to the claims."""

    further: dict[str, list[int]] = field(default_factory=dict)  # arm -> seeds after the first look
    closed: dict[str, int] = field(default_factory=dict)  # claim -> the look that closed it

    def close(self, look: int, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Close what is decided, cannot be tested, or is futile; return what stays open.

        A closed claim stays closed. None is futile at the first look: three differences say little
        about their spread.
        """
        still = []
        for verdict in verdicts:
            if verdict.claim.id in self.closed:
                continue
            futile = verdict.is_futile and look > 1
            if verdict.lacks_seeds or (verdict.is_open and not futile):
                still.append(verdict)
            else:
                self.closed[verdict.claim.id] = look
        return still

    def add(self, arms: Iterable[str], seeds: Iterable[int]) -> None:
        for arm in arms:
            self.further[arm] = [*self.further.get(arm, ()), *seeds]


def run_until_resolved(
    study: Path,
    prepared: Prepared,
    budget: float | None = None,
    *,
    added_only: bool = False,
    interim: Callable[[Results], None] | None = None,
) -> Prepared:
    """Run look after look (interim analyses) until no claim is open or `most` seeds are run.

    `prepared` is the first look.

    `budget` in seconds: it stops before a look that would exceed it, by the time that trials took
    so far. The first look is always run.
    `added_only`: seeds are added for the claims of added arms alone.
    `interim` shows the results of each look that another one follows.
    Returns the last look that was run.
    """
    console, ledger, began = screen(), Ledger(), time.monotonic()
    _check(prepared)
    # the first look retries failed trials
    options = dataclasses.replace(prepared.options, retry_failed=False)
    for look in itertools.count(1):
        prepared = execute(prepared)
        results = Results.of(prepared.run)
        concerned = [v for v in results.verdicts if v.claim.added or not added_only]
        still = ledger.close(look, concerned)
        if look == 1:
            console.print(capability(prepared, concerned) + "\n", soft_wrap=True)
        _print_look(console, look, concerned, ledger)
        if not still or not (seeds := _next_seeds(prepared, look)):
            break
        ledger.add(dict.fromkeys(arm for v in still for arm in v.claim.arms), seeds)
        following = prepare(study, options, ledger.further)
        expected = expected_seconds(following, results)
        if budget is not None and expected and time.monotonic() - began + expected > budget:
            console.print(
                f"look {look + 1} has {plural(len(following.remaining.trials), 'trial')}, about "
                f"{clock(expected)}, which would exceed the budget; re-run the command, or give it "
                "more time, to add them",
                soft_wrap=True,
            )
            break
        if interim is not None:
            interim(results)
        prepared = following
    console.print(summary(results, concerned, ledger) + "\n", soft_wrap=True)
    return prepared


def expected_seconds(prepared: Prepared, results: Results) -> float:
    """The time that the remaining trials take, by the arms' records so far; 0 without trials."""
    means = {
        arm: sum(times) / len(times)
        for arm in results.arms
        if (times := [r.timing.get("trial_s", 0.0) for r in results.complete(arm)])
    }
    usual = max(means.values(), default=0.0)
    trials = prepared.remaining.trials
    workers = max(1, min(prepared.jobs, len(trials)))
    return sum(means.get(trial.arm, usual) for trial in trials) / workers


def capability(prepared: Prepared, verdicts: Iterable[Verdict]) -> str:
    """What the design can show: the effects that decide a claim, by the seeds of each look."""
    rule, first = prepared.plan.study.sequential, len(prepared.plan.seeds)
    claims = max(1, sum(verdict.statements is not None for verdict in verdicts))
    design = Design(sequential=True, g=rule.g)
    parts = []
    for n in range(first, rule.most + 1, rule.step):
        effect = smallest_effect(n, claims, design)
        parts.append(f"none on {n}" if effect is None else f"{effect:.1f} on {n}")
    return (
        f"claims: {claims}; g = {rule.g:g}; the smallest difference that decides the first of "
        f"them, in standard deviations over seeds: {', '.join(parts)} seeds"
    )


def _check(prepared: Prepared) -> None:
    study = prepared.plan.study
    if not prepared.plan.file.added and all(c.test == "by_construction" for c in study.claims):
        raise CabenchError(
            f"--until-resolved: study '{study.study}' has no claim that seeds could decide; use "
            "--seeds"
        )
    if (most := study.sequential.most) < (first := len(prepared.plan.seeds)):
        raise CabenchError(
            f"--until-resolved: expected at least the {plural(first, 'seed')} of the first look as "
            f"the most of an arm, got {most}; see --max-seeds, or `sequential: {{most: {most}}}`"
        )


def _next_seeds(prepared: Prepared, look: int) -> list[int]:
    """The seeds of the look after `look`; [] where an arm would have more than the most.

    Those that earlier runs have seen come first, since none of them may be left out.
    """
    first, rule = prepared.plan.seeds, prepared.plan.study.sequential
    before = len(first) + (look - 1) * rule.step
    count = max(0, min(rule.step, rule.most - before))
    tuning = prepared.plan.study.tune
    seen = [seed for seed in seen_seeds(prepared.earlier) if seed not in first]
    new = (
        seed
        for seed in itertools.count(max(first) + 1)
        if seed not in seen and (tuning is None or seed != tuning.seed)
    )
    start = before - len(first)
    return list(itertools.islice(itertools.chain(seen, new), start, start + count))


def _print_look(console: Console, look: int, verdicts: Iterable[Verdict], ledger: Ledger) -> None:
    console.print(f"look {look}")
    for verdict in verdicts:
        if not verdict.is_count and ledger.closed.get(verdict.claim.id, look) == look:
            console.print(f"  {verdict.claim.id}: {state(verdict, ledger)}", soft_wrap=True)
    console.print()


def state(verdict: Verdict, ledger: Ledger) -> str:
    """'supported on 6 seeds', 'open on 3 seeds: with this mean and spread, 9 would decide', ..."""
    if not verdict.is_tested:
        return f"{'not tested yet' if verdict.lacks_seeds else 'not tested'}: {verdict.reason}"
    seeds = plural(verdict.n, "seed")
    if not verdict.is_open:
        return f"{verdict.word} on {seeds}"
    word = "stopped for futility" if verdict.claim.id in ledger.closed else "open"
    needed = f"with this mean and spread, {verdict.needed_text} would decide"
    return f"{word} on {seeds}: {needed}"


def summary(results: Results, verdicts: Iterable[Verdict], ledger: Ledger) -> str:
    """The state of each claim, and what it cost: the time in trials of its arms."""
    lines = []
    for verdict in verdicts:
        if verdict.is_count:
            continue
        arms = set(verdict.claim.arms)
        keys = {t.key for t in results.manifest.trials if t.arm in arms}
        spent = sum(
            record.timing.get("trial_s", 0.0)
            for key, record in results.records.items()
            if key in keys
        )
        text = f"{verdict.claim.id} {state(verdict, ledger)}"
        if verdict.is_tested:
            text += f" ({plural(len(keys), 'trial')} of its arms, {clock(spent)} in them)"
        lines.append(text)
    return "\n".join(lines)
