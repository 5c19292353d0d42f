"""The training loop: resume, step, measure, save; one run, or a stack of an arm's seeds.

A longer run extends a shorter one, and gives the same bits alone and in a stack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cabench.data.dataset import Dataset
from cabench.diffusion import graphs
from cabench.diffusion.checkpoints import load, snapshot_path
from cabench.diffusion.passes import Passes
from cabench.diffusion.ranks import ALONE, Ranks
from cabench.diffusion.training import Progress, TrainingRun, marks
from cabench.diffusion.weight_diagnostics import step_sizes
from cabench.records.spec import TrainSpec
from cabench.runtime.signals import deferred

NO_CACHE = "a compiled step needs a directory for its code"
Step = Callable[[], Sequence[Tensor] | Tensor]  # one update of every run; returns their losses


@dataclass(frozen=True)
class Job:
    """A training run and its directories, as `train` takes them."""

    spec: TrainSpec
    folder: Path
    trunk: Path | None = None


def train(
    spec: TrainSpec,
    images: int,
    dataset: Dataset,
    folder: Path,  # averaged networks by images seen, and the last state
    snapshot_every: int,  # images
    keep_state: bool = True,  # after the end, too, so that a longer run can resume from it
    device: str = "cpu",
    progress: Progress = lambda seen, loss: None,
    trunk: Path | None = None,  # directory of the same run at constant rate, if the rate decays
    beside: Sequence[Job] = (),  # other seeds of the arm
    cache: Path | None = None,  # directory of compiled code; needed by specs that are compiled
    weights: Mapping[str, Tensor] | None = None,  # to start from, of specs with `init_from`
    guide: int | None = None,  # images after which the average is saved to guide samples
    passes: Passes = Passes(),  # noqa: B008  (frozen)
    ranks: Ranks = ALONE,  # every one of them calls this; the leader alone reads and writes
) -> Path:
    """Trains to `images`, resuming from the state on disk; returns the snapshot's path.

    A run with a decay starts from the trunk's state where that helps, and leaves it the state at
    which its decay began (with `keep_state`). With a compiled step, the runs `beside` are trained,
    too; a fault of one of them leaves its directory as it is.

    The metadata of a snapshot holds `curve` (losses and diagnostics of generated weights, by images
    seen) and `seconds` (of training alone; of a stack, the run's share).
    """
    batch = spec.training.batch
    stops = marks(batch, snapshot_every, images)
    end = stops[-1]
    guide_at = None if guide is None else marks(batch, guide, guide)[-1]
    final = snapshot_path(folder, end)
    if ranks.of_leader(ranks.leads and load(final) is not None):
        return final
    jobs = [Job(spec, folder, trunk)]
    if spec.compiled:
        jobs += [job for job in beside if load(snapshot_path(job.folder, end)) is None]
    runs = [
        TrainingRun(
            job.spec,
            dataset,
            job.folder,
            device,
            job.trunk if keep_state else None,
            weights,
            passes,
            ranks,
        )
        for job in jobs
    ]
    if runs[0].decay_begins:
        stops = sorted({*stops, runs[0].decay_begins})
    for run in runs:
        run.resume(end)
    every = max(1, end // batch // 100)  # steps per point of the curve
    with _memory_of_step(spec, cache):
        while behind := [run for run in runs if run.trainer.seen < end and run.fault is None]:
            seen = min(run.trainer.seen for run in behind)
            stack = [run for run in behind if run.trainer.seen == seen]
            until = min((r.trainer.seen for r in behind if r not in stack), default=end)
            own = runs[0] in stack
            shown = progress if own else _silent
            _advance(stack, _step_of(stack, cache), until, stops, guide_at, every, shown)
            if runs[0].fault is not None:
                raise runs[0].fault
    if not keep_state and ranks.leads:
        for run in runs:
            run.state_path.unlink(missing_ok=True)
    return final


def _silent(seen: int, loss: float) -> None:
    pass


def _memory_of_step(spec: TrainSpec, cache: Path | None) -> AbstractContextManager[None]:
    """What frees the GPU of a compiled step when training ends."""
    if not spec.graphed:
        return nullcontext()
    assert cache is not None, NO_CACHE
    return graphs.own_memory(cache)


def _step_of(runs: Sequence[TrainingRun], cache: Path | None) -> Step:
    """What updates these runs."""
    if runs[0].trainer.spec.compiled:
        from cabench.diffusion.stack import Stack

        assert cache is not None, NO_CACHE
        return Stack(runs, cache).step
    (run,) = runs
    return lambda: [run.trainer.step(run.data, run.order)]


def _advance(
    runs: Sequence[TrainingRun],
    step: Step,
    until: int,
    stops: Sequence[int],
    guide_at: int | None,
    every: int,
    progress: Progress,
) -> None:
    """Steps the runs, which have seen the same number of images, until they have seen `until`.

    SIGTERM and SIGHUP wait for the end of a step, and stop the runs with their states on disk.
    """
    batch, leads = runs[0].trainer.recipe.batch, runs[0].ranks.leads
    losses: list[Sequence[Tensor] | Tensor] = []
    began = time.perf_counter()
    with deferred() as stopped:
        while (seen := runs[0].trainer.seen) < until:
            measured = seen + batch in stops and leads
            before = [run.produced() for run in runs] if measured else []
            losses.append(step())
            seen += batch
            for run, weights in zip(runs, before, strict=False):
                run.steps = step_sizes(weights, run.produced())
            if len(losses) == every or seen in stops:
                for run, of_run in zip(runs, zip(*losses, strict=True), strict=True):
                    run.log(list(of_run))
                if runs[0].fault is not None:
                    return
                progress(seen, runs[0].curve["loss"][-1])
                losses = []
            if seen == guide_at and seen not in stops and leads:
                for run in runs:  # the curve is that of any other run
                    if run.fault is None:
                        run.save_average()
            if seen in stops and leads:
                seconds = (time.perf_counter() - began) / len(runs)
                for run in runs:
                    if run.fault is None:
                        run.seconds += seconds
                        run.snapshot()
                        if seen == run.decay_begins:
                            run.leave_trunk()
                began = time.perf_counter()
            if stopped():
                if leads and seen not in stops:
                    for run in runs:
                        if run.fault is None:
                            run.seconds += (time.perf_counter() - began) / len(runs)
                            run.save_state()
                return
