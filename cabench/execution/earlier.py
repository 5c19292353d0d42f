"""What could be seen of a study before this run: it decides how the run's seeds may be tested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cabench.planning.trials import Plan
from cabench.records.runs import stored_manifest
from cabench.records.schema import Manifest, ManifestDesign
from cabench.records.store import reference


def earlier_runs(results: Path, study: str, scale: str) -> list[Manifest]:
    """The manifests of the study at the scale: the committed one, then that in `results`."""
    folders = dict.fromkeys((reference(), results))
    return [m for folder in folders if (m := stored_manifest(folder, study, scale)) is not None]


def seen_seeds(runs: Iterable[Manifest]) -> list[int]:
    """The seeds of earlier runs, in the order in which they were seen."""
    return list(dict.fromkeys(s for run in runs for s in (*run.design.earlier, *run.seeds)))


def in_order(seeds: Iterable[int], seen: Sequence[int]) -> list[int]:
    """The seeds: those that were seen in their order, then the others as given."""
    seeds = list(seeds)
    return [s for s in seen if s in seeds] + [s for s in seeds if s not in seen]


def design(plan: Plan, runs: Sequence[Manifest], until_resolved: bool) -> ManifestDesign:
    """How the plan's seeds were chosen.

    Seeds of an earlier run, with others added or some of them alone, are sequential. That test
    holds for the seeds in the order in which they were seen, up to any of them; a choice among them
    is no sample, and the seeds passed over are `left_out`. Seeds that are all new are a design of
    their own.
    """
    rule = plan.study.sequential.model_dump()
    runs = [run for run in runs if _is_same(run, plan)]
    seeds = list(dict.fromkeys(trial.seed for trial in plan.trials))
    if not until_resolved:
        for run in reversed(runs):
            if set(run.seeds) == set(seeds) and not run.design.until_resolved:
                return run.design.model_copy(update=rule)
    first = tuple(plan.seeds)
    own = [run for run in runs if until_resolved and run.design.until_resolved]
    own = [run for run in own if run.design.first == first]  # earlier looks of this run
    seen = seen_seeds(run for run in runs if run not in own)
    seen = list(dict.fromkeys([*seen, *(s for run in own for s in run.design.earlier)]))
    return ManifestDesign(
        sequential=until_resolved or any(seed in seen for seed in seeds),
        until_resolved=until_resolved,
        first=first,
        earlier=tuple(seen),
        left_out=tuple(left_out(seeds, seen)),
        **rule,
    )


def left_out(seeds: Sequence[int], seen: Sequence[int]) -> list[int]:
    """The seen seeds that lie before one that is used; [] where all that are used are new."""
    used = [i for i, seed in enumerate(seen) if seed in seeds]
    if not used:
        return []
    end = len(seen) if any(seed not in seen for seed in seeds) else used[-1]
    return [seed for seed in seen[:end] if seed not in seeds]


def _is_same(run: Manifest, plan: Plan) -> bool:
    """Whether no trial that both have has another key: the same training and scores."""
    keys = {(trial.arm, trial.seed): trial.key for trial in plan.trials}
    return all(keys.get((t.arm, t.seed), t.key) == t.key for t in run.trials)
