"""Which trials train together, and the work that each is expected to take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from cabench.cost.macs import meta_macs
from cabench.planning.trials import Plan, Trial

COMPILED_STEP = 0.5  # processor time of an image in a compiled stack, by that of an eager step


def stacked(trials: Sequence[Trial], size: int, jobs: int = 1) -> list[Trial]:
    """The trials; the first of each `size` seeds of an arm with the others to train beside it.

    Stacks are smaller where fewer arms than `jobs` remain.
    """
    arms: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        arms.setdefault((trial.arm, trial.spec.images), []).append(trial)
    if len(arms) < jobs:
        size = min(size, math.ceil(len(trials) / jobs))
    result = []
    for of_arm in arms.values():
        for start in range(0, len(of_arm), size):
            first, *rest = of_arm[start : start + size]
            shared = first.spec.train.data.resample is None  # a stack trains on the same images
            stacks = first.spec.train.compiled and shared
            beside = tuple(t.seed for t in rest) if stacks else ()
            result += [dataclasses.replace(first, beside=beside), *rest]
    return result


def work(planned: Plan, trials: Sequence[Trial]) -> dict[str, float]:
    """The expected work of each trial in MACs, by key: for the time left.

    The first trial of a stack trains the networks of all.
    """
    macs = {}
    for arm in planned.arms:
        try:
            macs[arm] = meta_macs(planned.models[arm].spec).total
        except (Exception, SystemExit):  # its trials fail, and say why in their records
            macs[arm] = 1.0
    beside = {(trial.arm, trial.spec.images, seed) for trial in trials for seed in trial.beside}
    expected = {}
    for trial in trials:
        follows = (trial.arm, trial.spec.images, trial.seed) in beside
        networks = 0 if follows else 1 + len(trial.beside)
        passes = networks * training_passes(trial, planned) + sampling_passes(trial)
        expected[trial.key] = macs[trial.arm] * passes
    return expected


def training_passes(trial: Trial, planned: Plan) -> float:
    """Forward passes of one image that cost as much as a trial's training; a step counts as three.

    A longer training continues the shorter one.
    """
    spec = trial.spec
    shorter = max((images for images in planned.lengths if images < spec.images), default=0)
    decay = spec.train.of_length(shorter).training.decay
    trained = spec.images - (shorter if decay is None else decay.begin if shorter else 0)
    return 3 * trained * (COMPILED_STEP if spec.train.compiled else 1)


def sampling_passes(trial: Trial) -> int:
    """Forward passes of one image in a trial's sampling."""
    spec = trial.spec
    per_step = sum(1 if g == 1 else 2 for g in (spec.guidance, *spec.sweep))
    return per_step * spec.sample.n * spec.sample.steps
