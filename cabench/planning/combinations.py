"""Refuses studies and scales whose parts are each valid and together mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cabench.config.scale import Sampling, Scale
from cabench.config.schema import Study
from cabench.diffusion import sampling
from cabench.diffusion.process import Process
from cabench.errors import ConfigError, Where, listed
from cabench.records.spec import ModelSpec


def check_scale(study: Study, scale: Scale) -> None:
    """Raises a ConfigError for a metric that is not measured, lengths, guidance, sampler, steps."""
    if study.primary not in scale.metrics:
        text = f"scale '{scale.scale}' does not measure '{study.primary}'"
        text = f"{text}; it measures {listed(scale.metrics)}"
        raise ConfigError("study", ("primary",), text)
    _check_lengths(scale)
    _check_guidance(scale)
    if (fault := sampling_fault(scale)) is not None:
        raise ConfigError("scale", ("sampling", fault.key), fault.reason)


class SamplingFault(NamedTuple):
    """What is wrong with a scale's sampling."""

    key: str  # sampler or steps
    reason: str


def sampling_fault(scale: Scale) -> SamplingFault | None:
    """A sampler that cannot follow the process, or has no grid of so many steps; else None."""
    process = Process(scale.diffusion.prediction, scale.diffusion.schedule)
    sampler, steps = scale.sampling.sampler, scale.sampling.steps
    if (reason := sampling.misfit(process, sampler)) is not None:
        return SamplingFault("sampler", reason)
    if (reason := sampling.no_grid(process, sampler, steps)) is not None:
        return SamplingFault("steps", reason)
    return None


def _check_lengths(scale: Scale) -> None:
    training = scale.training
    lengths = [*training.lengths, training.images]
    if lengths != sorted(set(lengths)) or lengths[0] < training.batch:
        text = (
            f"expected rising numbers of images from {training.batch} (batch) to below "
            f"{training.images} (images), got {listed(map(str, training.lengths))}"
        )
        raise ConfigError("scale", ("training", "lengths"), text)


def _check_guidance(scale: Scale) -> None:
    interval, guide = scale.sampling.guidance_interval, scale.sampling.autoguidance
    if all(g == 1 for _, g in _guidances(scale.sampling)):
        if interval is not None:
            text = f"expected none, as no samples are guided, got {listed(map(str, interval))}"
            raise ConfigError("scale", ("sampling", "guidance_interval"), text)
        if guide is not None:
            text = f"expected none, as no samples are guided, got {guide}"
            raise ConfigError("scale", ("sampling", "autoguidance"), text)
    if guide is not None:
        _check_guide(scale, guide)
    elif not scale.training.label_dropout:
        _check_unguided(scale)


def _check_guide(scale: Scale, guide: int) -> None:
    """The guide comes from the part of the training that all lengths share."""
    training = scale.training
    shortest = min([*training.lengths, training.images])
    until = shortest - max(1, round(shortest * (training.decay or 0)))
    until -= until % training.batch
    if not training.batch <= guide <= until:
        why = ", where the rate decays" if training.decay else ""
        text = f"expected images from {training.batch} (batch) to {until}{why}"
        raise ConfigError("scale", ("sampling", "autoguidance"), f"{text}, got {guide}")


def _check_unguided(scale: Scale) -> None:
    for where, guidance in _guidances(scale.sampling):
        if guidance != 1:
            text = f"expected 1 where training's label_dropout is 0, got {guidance:g}"
            reason = "guidance needs a network that was trained without conditions, too"
            raise ConfigError("scale", where, f"{text}: {reason}")


def _guidances(options: Sampling) -> Iterator[tuple[Where, float]]:
    """Every guidance that samples are drawn with, and its place."""
    yield ("sampling", "guidance"), options.guidance
    if options.sweep.seeds:
        for i, guidance in enumerate(options.sweep.guidance):
            yield ("sampling", "sweep", "guidance", i), guidance


def check_arms(study: Study, models: Mapping[str, ModelSpec], arms: Iterable[str]) -> None:
    """Refuses a run of which no arm has a condition and a verdict."""

    def is_conditioned(arm: str) -> bool:
        return any(method.streams for method in models[arm].methods)

    if not any(is_conditioned(arm) and not study.arms[arm].bound for arm in arms):
        text = "no arm has a condition: expected one with methods that is no lower bound"
        raise ConfigError("study", ("arms",), text)
