"""The scale of an arm whose training or sampling differs from the run's."""

from __future__ import annotations

from typing import Any, TypeVar

from cabench.config.scale import Sampling, Scale, Training
from cabench.config.schema import Recipe
from cabench.errors import ConfigError, Where
from cabench.planning.combinations import sampling_fault

MOST_STEPS = 1000
Section = TypeVar("Section", Training, Sampling)


def arm_scale(scale: Scale, recipe: Recipe, where: Where) -> Scale:
    """The scale with the arm's recipe; `where` is the place of that recipe in the study.

    Raises a ConfigError where a batch has no image or more than the training, and where the sampler
    has no grid of so many steps.
    """
    if recipe == Recipe():
        return scale
    training, sampling = scale.training, scale.sampling
    batch = round(training.batch * recipe.batch)
    if not 1 <= batch <= min([*training.lengths, training.images]):
        text = f"expected 1 to {min([*training.lengths, training.images]):,} images, got {batch:,}"
        raise ConfigError("study", (*where, "batch"), f"{text} (factor x {training.batch})")
    steps = round(sampling.steps * recipe.steps)
    if not 1 <= steps <= MOST_STEPS:
        text = f"expected 1 to {MOST_STEPS:,} steps, got {steps:,} (factor x {sampling.steps})"
        raise ConfigError("study", (*where, "steps"), text)
    own = scale.model_copy(
        update={
            "training": _with(
                training,
                batch=batch,
                lr=float(f"{training.lr * recipe.lr:.3g}"),
                ema_half_life=max(1, round(training.ema_half_life * recipe.ema_half_life)),
                optimiser=recipe.optimiser,
            ),
            "sampling": _with(sampling, steps=steps, sampler=recipe.sampler),
        }
    )
    if (fault := sampling_fault(own)) is not None:
        raise ConfigError("study", (*where, fault.key), fault.reason)
    return own


def _with(section: Section, **values: Any) -> Section:
    """The section with the values that are given."""
    return section.model_copy(update={k: v for k, v in values.items() if v is not None})
