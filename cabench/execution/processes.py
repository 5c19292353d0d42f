"""How many processes share a trial, and whether its training steps are compiled."""

from __future__ import annotations

from collections.abc import Sequence

from cabench.config.scale import Scale
from cabench.config.yaml import located
from cabench.diffusion import compiled, ranks
from cabench.errors import ConfigError, listed
from cabench.planning.trials import Plan, Trial


def of_trial(scale: Scale, device: str) -> int:
    """Processes that share a trial: torchrun's, else those of the scale's `resources`."""
    place = ranks.from_torchrun()
    return scale.resources.ranks(device) if place is None else place[1]


def steps_are_whole(scale: Scale, device: str) -> bool:
    """Whether one process takes each training step in one pass, as compiled steps do."""
    training = scale.training
    return not (training.micro_batch or training.checkpointing) and of_trial(scale, device) == 1


def check(planned: Plan, device: str) -> None:
    """Raises ConfigError where a batch has fewer images than processes share it."""
    count = of_trial(planned.scale, device)
    batch = planned.scale.training.batch
    if count > batch:
        text = f"expected at least one image per process, {count}, got {batch}"
        with located(*planned.documents):
            raise ConfigError("scale", ("training", "batch"), text)


def compiles(scale: Scale, device: str) -> bool:
    """Whether training steps can be compiled here."""
    return device == "cpu" and steps_are_whole(scale, device) and compiled.compiler() is not None


def uncompiled(planned: Plan, trials: Sequence[Trial], device: str = "cpu") -> str | None:
    """Why training steps are not compiled although the scale asks for it, or None."""
    arms = dict.fromkeys(trial.arm for trial in trials if not trial.spec.train.compiled)
    if not arms or not planned.scale.training.compile:
        return None
    if len(arms) < len({trial.arm for trial in trials}):
        return f"training steps of {listed(arms)} are not compiled: they are a plugin's"
    if not steps_are_whole(planned.scale, device):
        return (
            "training steps are not compiled: that needs one process per trial, no micro_batch and "
            "no checkpointing"
        )
    if compiled.compiler() is None:
        return (
            "training steps are not compiled: no C++ compiler with OpenMP (g++, or the one that "
            "CXX names)"
        )
    return "training steps are not compiled: that needs float32 on a CPU, without CABENCH_KERNELS"
