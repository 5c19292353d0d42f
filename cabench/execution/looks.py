"""Runs a study look by look: seeds are added to the arms of claims that are still open.

Each look follows from the records alone, so the same command continues a run that was stopped, and
trains nothing where all is decided.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Verdict
from cabench.execution.run import Options, Prepared, execute, prepare
from cabench.records.runs import Run
from cabench.records.schema import Manifest
from cabench.runtime.console import clock, screen


@dataclass
class Ledger:
    """What each look did to the claims."""

    further: dict[str, list[int]] = field(default_factory=dict)  # arm -> seeds after the first look
    closed: dict[str, int] = field(default_factory=dict)  # claim -> the look that closed it

    def close(self, look: int, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Close what is decided, cannot be tested, or is given up; return what stays open.

        A claim that is given up stays so. The first look gives nothing up: three differences say
        little about their spread.
        """
        still = []
        for verdict in verdicts:
            if verdict.claim.id in self.closed:
                continue
            if verdict.is_open and not (verdict.is_futile and look > 1):
                still.append(verdict)
            else:
                self.closed[verdict.claim.id] = look
        return still

    def add(self, arms: Iterable[str], seeds: Iterable[int]) -> None:
        for arm in arms:
            self.further[arm] = [*self.further.get(arm, ()), *seeds]


def run_until_resolved(
    study: Path, options: Options, budget: float | None = None, *, added_only: bool = False
) -> Prepared:
    """Run look after look until no claim is open, `most` seeds are run, or time is up.

    `budget` in seconds: no look begins that would exceed it at the pace so far, except the first.
    `added_only`: seeds are added for the claims of added arms alone.
    Returns the last look that was run.
    """
    console, ledger = screen(), Ledger()
    began, trained = time.monotonic(), 0
    prepared = prepare(study, options)
    _check_claims(prepared)
    for look in itertools.count(1):
        trained += len(prepared.remaining.trials)
        prepared = execute(prepared)
        results = Results.of(Run(Manifest.model_validate(prepared.manifest), prepared.store))
        concerned = [v for v in results.verdicts if v.claim.added or not added_only]
        still = ledger.close(look, concerned)
        _print_look(console, look, concerned, ledger)
        if not still or not (seeds := _next_seeds(prepared, look)):
            break
        ledger.add(dict.fromkeys(arm for v in still for arm in v.claim.arms), seeds)
        following = prepare(study, options, ledger.further)
        todo, pace = len(following.remaining.trials), (time.monotonic() - began) / max(1, trained)
        if budget is not None and todo and time.monotonic() - began + todo * pace > budget:
            console.print(
                f"look {look + 1} has {todo} trials, about {clock(todo * pace)}: beyond --budget; "
                "the same command continues here",
                soft_wrap=True,
            )
            break
        prepared = following
    console.print(summary(results, concerned, ledger) + "\n", soft_wrap=True)
    return prepared


def _check_claims(prepared: Prepared) -> None:
    claims = prepared.plan.study.claims
    if not prepared.plan.file.added and all(c.test == "by_construction" for c in claims):
        raise CabenchError(
            f"--until-resolved: study '{prepared.plan.study.study}' has no claim that seeds could "
            "decide; use --seeds"
        )


def _next_seeds(prepared: Prepared, look: int) -> list[int]:
    """The seeds of the look after `look`; [] where an arm would have more than the most."""
    first, rule = prepared.plan.seeds, prepared.plan.study.sequential
    before = len(first) + (look - 1) * rule.step
    count = min(rule.step, rule.most - before)
    tuning = prepared.plan.study.tune
    unused = (s for s in itertools.count(max(first) + 1) if tuning is None or s != tuning.seed)
    return list(itertools.islice(unused, before - len(first), before - len(first) + count))


def _print_look(console: Console, look: int, verdicts: Iterable[Verdict], ledger: Ledger) -> None:
    console.print(f"look {look}")
    for verdict in verdicts:
        if not verdict.is_count and ledger.closed.get(verdict.claim.id, look) == look:
            console.print(f"  {verdict.claim.id}: {state(verdict, ledger)}", soft_wrap=True)
    console.print()


def state(verdict: Verdict, ledger: Ledger) -> str:
    """'supported on 6 seeds', 'open on 3 seeds: with this mean and spread, 9 would decide', ..."""
    if not verdict.is_tested:
        return f"not tested: {verdict.reason}"
    if not verdict.is_open:
        return f"{verdict.word} on {verdict.n} seeds"
    needed = "more than 100" if verdict.needed is None else verdict.needed
    word = "given up" if verdict.claim.id in ledger.closed else "open"
    return f"{word} on {verdict.n} seeds: with this mean and spread, {needed} would decide"


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
            text += f" ({len(keys)} trials of its arms, {clock(spent)} in them)"
        lines.append(text)
    return "\n".join(lines)
