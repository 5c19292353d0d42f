"""What a run does not compile although its scale asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cabench.config.scale import Scale
from cabench.errors import listed
from cabench.execution.processes import missing, steps_are_whole
from cabench.models.kernel_forms import VARIABLE
from cabench.planning.trials import Plan, Trial
from cabench.records.spec import TrialSpec

PLUGIN = "it runs a plugin's code"
IS_COMPILED: dict[str, Callable[[TrialSpec], bool]] = {
    "training": lambda spec: bool(spec.train.compiled or spec.train.graphed),
    "sampling": lambda spec: bool(spec.sample.compiled or spec.sample.graphed),
}


def uncompiled(
    planned: Plan, trials: Sequence[Trial], device: str = "cpu", cluster: bool = False
) -> list[str]:
    """A line for each section of the scale that asks for compilation that is not possible here."""
    lines = []
    for section, is_compiled in IS_COMPILED.items():
        if not getattr(planned.scale, section).compile:
            continue
        on_cpu = section == "training" and device == "cpu"
        muon = _arms(t for t in trials if on_cpu and t.spec.train.training.optimiser)
        if muon:
            lines.append(f"training of {listed(muon)} is not compiled: its optimiser is Muon")
        rest = [t for t in trials if t.arm not in muon]
        if arms := _arms(t for t in rest if not is_compiled(t.spec)):
            reason = _reason(section, rest, planned.scale, device, cluster)
            of_arms = "" if reason else f" of {listed(arms)}"
            lines.append(f"{section}{of_arms} is not compiled: {reason or PLUGIN}")
    return lines


def _arms(trials: Iterable[Trial]) -> list[str]:
    return list(dict.fromkeys(trial.arm for trial in trials))


def _reason(
    section: str, trials: Sequence[Trial], scale: Scale, device: str, cluster: bool
) -> str | None:
    """Why no arm can be compiled here, or None."""
    if not steps_are_whole(scale, device):
        return "that needs one process per trial, no micro_batch and no checkpointing"
    if (lack := missing(device, cluster)) is not None:
        return lack
    if any(trial.spec.train.kernels for trial in trials):
        return f"{VARIABLE} is set"
    if section == "training" and device == "cpu" and scale.training.precision != "float32":
        return f"that needs float32 on a CPU, got {scale.training.precision}"
    return None
