"""How many processes share a trial, what memory each takes, and whether they compile it."""

from __future__ import annotations

from cabench.config.scale import Scale
from cabench.config.yaml import located
from cabench.cost.memory import Memory, training_memory
from cabench.diffusion import compiled, graphs, ranks
from cabench.diffusion.passes import Passes
from cabench.errors import ConfigError
from cabench.planning.trials import Plan

LIBRARIES = 3 * 2**29  # bytes of a process with its libraries, data and feature extractors


def of_trial(scale: Scale, device: str) -> int:
    """Processes that share a trial: torchrun's, else those of the scale's `resources`."""
    place = ranks.from_torchrun()
    return scale.resources.ranks(device) if place is None else place[1]


def steps_are_whole(scale: Scale, device: str) -> bool:
    """Whether one process takes each training step in one pass, as compiled steps do."""
    training = scale.training
    return not (training.micro_batch or training.checkpointing) and of_trial(scale, device) == 1


def check(planned: Plan, device: str, cluster: bool = False) -> None:
    """Raises ConfigError where a batch has fewer images than processes share it, or GPUs lack.

    How many GPUs a `cluster` has is not known here.
    """
    count = of_trial(planned.scale, device)
    batch = min((t.spec.train.training.batch for t in planned.trials), default=count)
    with located(*planned.documents):
        if count > batch:
            text = f"expected at least one image per process, {count}, got {batch}"
            raise ConfigError("scale", ("training", "batch"), text)
        if device != "cuda" or cluster or ranks.from_torchrun() is not None:
            return
        import torch

        if count > (present := torch.cuda.device_count()):
            text = f"expected at most {present}, the GPUs of this machine, got {count}"
            raise ConfigError("scale", ("resources", "gpus"), text)


def compiles(scale: Scale, device: str, cluster: bool = False) -> bool:
    """Whether the training steps and the sampled networks of a scale can be compiled here."""
    asked = scale.training.compile or scale.sampling.compile
    return asked and steps_are_whole(scale, device) and missing(device, cluster) is None


def missing(device: str, cluster: bool = False) -> str | None:
    """What this machine lacks to compile for a device; None if it can.

    Whether the GPUs of a `cluster` can is not known here, so that they do not.
    """
    if device.startswith("cuda"):
        if cluster:
            return "that is not tried on the GPUs of a cluster"
        error = graphs.fault(device)
        return None if error is None else f"torch.compile fails on this GPU: {error}"
    if device != "cpu":
        return "that needs a CPU or CUDA"
    if compiled.compiler() is None:
        return "no C++ compiler with OpenMP (g++, or the one that CXX names)"
    return None


def memory(planned: Plan, device: str) -> int:
    """Bytes of main memory that a process of a trial takes, of the arm with most parameters.

    On a CPU it trains a stack of networks, each with its gradients, averages, moments and
    activations.
    """
    if device != "cpu":
        return LIBRARIES
    training = planned.scale.training
    largest = max((planned.models[arm] for arm in planned.arms), key=lambda m: m.parameters.total)
    passes = Passes(training.micro_batch, training.checkpointing)
    images = -(-training.batch // of_trial(planned.scale, device))
    try:
        network = training_memory(largest.spec, images, training.precision, passes)
    except Exception:  # a plugin's code, which may not run on tensors without values
        network = Memory(largest.parameters.total, activations=0)
    networks = training.stack if training.compile and compiles(planned.scale, device) else 1
    return LIBRARIES + networks * network.total
