"""How long a run takes on this machine's processor, from timed training steps of its arms.

The seconds below are those of one thread of an AMD EPYC with two trials side by side, in the
committed records. Training and sampling, most of a run, are timed on the machine itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cabench.cost.estimate import makespan
from cabench.data import load_dataset
from cabench.execution.schedule import sampling_passes, stacked, training_passes
from cabench.metrics import needing
from cabench.metrics.base import extractor_of
from cabench.metrics.feature_files import absent_features
from cabench.planning.trials import Plan, Trial
from cabench.registry import METRICS

START = 15.0  # until the first trial trains: workers start and import the libraries
TRIAL = 2.0  # of a trial, beside training, sampling and features
COMPILED = 60.0  # to compile an arm's training step
NETWORK = 30.0  # to compile an arm's network for sampling
COMPILED_SAMPLING = 0.65  # time of a sample from a compiled network, by that from an eager one
FEATURES = 0.0014  # of an image, per feature extractor


@dataclass(frozen=True)
class TrialTime:
    """Seconds of a trial."""

    training: float
    sampling: float
    scoring: float

    @property
    def total(self) -> float:
        return self.training + self.sampling + self.scoring


def trial_time(trial: Trial, planned: Plan, pace: float) -> TrialTime:
    """The time of a trial that trains alone, where a training step takes `pace` s per image."""
    spec, heldout = trial.spec, trial.spec.score.heldout
    per_pass = pace / 3  # a step counts as three passes
    images = spec.sample.n * (1 + len(spec.sweep)) + (spec.score.unseen or 0)
    features = images * len(_extractors(planned)) * FEATURES
    return TrialTime(
        training=training_passes(trial, planned) * per_pass,
        sampling=sampling_passes(trial)
        * per_pass
        * (COMPILED_SAMPLING if spec.sample.compiled else 1),
        scoring=TRIAL + features + heldout.images * heldout.repeats * per_pass,
    )


def run_time(
    trials: Sequence[Trial], planned: Plan, pace: Mapping[str, float], side: int, cache: Path
) -> float:
    """Seconds until these trials are done, `side` at a time: by stacks, the longest first."""
    if not trials:
        return 0.0
    jobs: list[tuple[tuple[int, int, float], float]] = []
    follow = set[tuple[str, int, int]]()
    compiles = {t.arm for t in trials if t.spec.train.compiled}
    networks_to_compile = {t.arm for t in trials if t.spec.sample.compiled}
    for trial in stacked(trials, planned.scale.training.stack, side):
        time = trial_time(trial, planned, pace[trial.arm])
        place = (trial.arm, trial.spec.images)
        follow |= {(*place, seed) for seed in trial.beside}
        networks = 0 if (*place, trial.seed) in follow else 1 + len(trial.beside)
        seconds = networks * time.training + time.sampling + time.scoring
        if networks and trial.arm in compiles:  # once: later stacks load the library
            compiles.remove(trial.arm)
            seconds += COMPILED
        if trial.arm in networks_to_compile:
            networks_to_compile.remove(trial.arm)
            seconds += NETWORK
        jobs.append(((trial.spec.images, -len(trial.beside), -seconds), seconds))
    return START + real_images(planned, cache) + makespan([s for _, s in sorted(jobs)], side)


def _extractors(planned: Plan) -> set[str]:
    names = needing("samples", planned.scale.metrics)
    return {extractor_of(METRICS.get(name)) for name in names}


def real_images(planned: Plan, cache: Path) -> float:
    """Seconds for the features of real images that the cache lacks."""
    data = planned.data
    if data.missing or data.vae is not None:
        return 0.0
    dataset = load_dataset(data.source, **data.options)
    return FEATURES * sum(
        absent_features(dataset, cache, name, planned.scores_on_gpu)
        for name in _extractors(planned)
    )
