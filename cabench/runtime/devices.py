"""The device that trials run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cabench.errors import CabenchError, cut, near, shown

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda", "mps")


def pick_device(name: str) -> str:
    """The device called `name`; 'auto' is CUDA if available, else the CPU.

    CabenchError if there is no such device or it does not work here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and kind != "cuda"):
        hint = " (did you mean 'cuda'?)" if kind.lower() == "gpu" else near(name, DEVICES)
        raise CabenchError(
            f"--device: expected auto, {', '.join(DEVICES)} or a GPU such as cuda:1, got "
            f"{shown(name)}{hint}"
        )
    try:
        torch.empty(1, device=name)
    except Exception as error:  # the type depends on the backend
        reason = cut(str(error).splitlines()[0], 200)
        raise CabenchError(f"--device: {shown(name)} cannot be used here: {reason}") from None
    exact(name)
    return name


def exact(device: str) -> None:
    """Makes float32 float32 in the convolutions of this process's GPUs, too, not TF32."""
    if device.startswith("cuda"):
        import torch

        torch.backends.cudnn.allow_tf32 = False


def moved(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """The tensor on `device`. A copy from the CPU to a GPU does not wait for the work queued there.

    It is pinned first: the driver would wait before it copies pageable memory. Not for copies from
    a GPU to the CPU, which must wait.
    """
    if tensor.device.type == "cpu" and str(device).startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


# ---- the memory of a GPU -------------------------------------------------------------------------

OF_SPLIT = 4  # a split stays on a GPU if it takes at most one part in so many of the free memory


def room_for_split(device: str) -> int:
    """Bytes of a GPU that a split may take: a quarter of what this process may still allocate.

    0 on other devices.
    """
    if not device.startswith("cuda"):
        return 0
    import torch

    index = torch.device(device).index  # None: the current GPU
    free, total = torch.cuda.mem_get_info(index)
    own = torch.cuda.get_per_process_memory_fraction(index) * total
    return max(0, int(min(free, own - torch.cuda.memory_reserved(index)))) // OF_SPLIT


def limit_memory(device: str, gpus: float) -> None:
    """Limits this process to its share of a GPU that several trials use; a whole one has none."""
    if device.startswith("cuda") and 0 < gpus < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(gpus, torch.device(device).index)
