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
    """The tensor on `device`. A copy to a GPU does not wait for the work that is queued there.

    Only for tensors that come from the CPU: a copy to the CPU must wait.
    """
    return tensor.to(device, non_blocking=str(device).startswith("cuda"))
