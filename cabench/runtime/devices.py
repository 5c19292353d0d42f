"""The device that trials run on."""

from __future__ import annotations

from cabench.errors import CabenchError, cut, near, shown

DEVICES = ("cpu", "cuda", "mps")


def pick_device(name: str) -> str:
    """The device called `name`; 'auto' is CUDA if available, else the CPU.

    CabenchError if there is no such device or it does not work here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
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
    return name
