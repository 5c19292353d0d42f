"""What a run does not compile although its scale asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cabench.config.scale import Scale
from cabench.errors import listed
from cabench.execution.processes import missing, steps_are_whole
from cabench.planning.trials import Plan, Trial
from cabench.records.spec import TrialSpec

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
            every = len(arms) == len({trial.arm for trial in rest})
            if every:
                reason = _reason(section, planned.scale, device, cluster)
                lines.append(f"{section} is not compiled: {reason}")
            else:
                lines.append(
                    f"{section} of {listed(arms)} is not compiled: it runs a plugin's code"
                )
    return lines


def _arms(trials: Iterable[Trial]) -> list[str]:
    return list(dict.fromkeys(trial.arm for trial in trials))


def _reason(section: str, scale: Scale, device: str, cluster: bool) -> str:
    if not steps_are_whole(scale, device):
        return "that needs one process per trial, no micro_batch and no checkpointing"
    if (lack := missing(device, cluster)) is not None:
        return lack
    if section == "training" and device == "cpu":
        return "that needs float32, and CABENCH_KERNELS unset"
    return "CABENCH_KERNELS is set"
