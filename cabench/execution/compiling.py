"""What a run does not compile although its scale asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cabench.config.scale import Scale
from cabench.diffusion import compiled
from cabench.errors import listed
from cabench.execution.processes import steps_are_whole
from cabench.planning.trials import Plan, Trial
from cabench.records.spec import TrialSpec

IS_COMPILED: dict[str, Callable[[TrialSpec], bool]] = {
    "training": lambda spec: spec.train.compiled is not None,
    "sampling": lambda spec: spec.sample.compiled is not None,
}


def uncompiled(planned: Plan, trials: Sequence[Trial], device: str = "cpu") -> list[str]:
    """A line for each section of the scale that asks for compilation that is not possible here."""
    lines = []
    for section, is_compiled in IS_COMPILED.items():
        arms = list(dict.fromkeys(t.arm for t in trials if not is_compiled(t.spec)))
        if arms and getattr(planned.scale, section).compile:
            every = len(arms) == len({trial.arm for trial in trials})
            lines.append(_line(section, arms, every, planned.scale, device))
    return lines


def _line(section: str, arms: list[str], every: bool, scale: Scale, device: str) -> str:
    if not every:
        return f"{section} of {listed(arms)} is not compiled: it runs a plugin's code"
    if not steps_are_whole(scale, device):
        reason = "that needs one process per trial, no micro_batch and no checkpointing"
    elif compiled.compiler() is None:
        reason = "no C++ compiler with OpenMP (g++, or the one that CXX names)"
    else:
        float32 = " in float32" if section == "training" else ""
        reason = f"that needs a CPU{float32}, without CABENCH_KERNELS"
    return f"{section} is not compiled: {reason}"
