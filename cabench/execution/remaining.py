"""What a run still has to do: searches of learning rates, and trials without a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cabench.execution.tuning import outcome
from cabench.planning.trials import Plan, Trial
from cabench.planning.tuning import Search, searches, tuned
from cabench.records.schema import SearchOutcome
from cabench.records.store import Store


@dataclass(frozen=True)
class Remaining:
    """What a run still has to do."""

    searches: tuple[Search, ...] = ()  # of learning rates; trials of their arms wait for them
    trials: tuple[Trial, ...] = ()  # distinct ones without an intact record
    failed: int = 0  # trials whose failed record stands

    @property
    def arms(self) -> list[str]:
        """The arms that have something to do."""
        return list(dict.fromkeys(work.arm for work in (*self.searches, *self.trials)))


def what_remains(
    planned: Plan,
    store: Store,
    retry_failed: bool = False,
    outcomes: Mapping[str, SearchOutcome] | None = None,  # of searches, by arm, beside stored ones
) -> tuple[Plan, Remaining]:
    """The plan with the learning rates that searches chose, and what its records lack.

    While a search is missing, the plan keeps the scale's rates. Trials that already have a record
    at the rate of a finished search do not count as remaining.
    """
    if planned.data.missing:
        return planned, Remaining()
    known, unknown = dict(outcomes or {}), list[Search]()
    for search in searches(planned):
        result = outcome(search, store) if search.arm not in known else None
        if result is not None:
            known[search.arm] = result
        elif search.arm not in known:
            unknown.append(search)
    with_rates = tuned(planned, known)
    waiting = {search.arm for search in unknown}
    missing: dict[str, Trial] = {}
    failed = set[str]()
    for trial, at_rate in zip(planned.all_trials, with_rates.all_trials, strict=True):
        # Arms may share trials
        record = None if trial.arm in waiting else store.sound(at_rate.key)
        if record is None or (not record.complete and retry_failed):
            missing[at_rate.key] = trial if unknown else at_rate
        elif not record.complete:
            failed.add(at_rate.key)
    remaining = Remaining(tuple(unknown), tuple(missing.values()), len(failed))
    return planned if unknown else with_rates, remaining
