"""Which device trials run on."""

from __future__ import annotations

from cabench.errors import CabenchError, cut, near, shown

DEVICES = ("cpu", "cuda", "mps")


def pick_device(asked: str) -> str:
    """A device that works here; 'auto' is CUDA where there is one, else the CPU."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = asked.partition(":")
    if kind not in DEVICES or (number and kind != "cuda"):
        raise CabenchError(
            f"--device: found {shown(asked)}{near(asked, DEVICES)}; allowed: auto, "
            f"{', '.join(DEVICES)}, or one of several GPUs such as cuda:1"
        )
    try:
        torch.empty(1, device=asked)
    except Exception as error:  # torch raises many kinds, one for each backend
        reason = cut(str(error).splitlines()[0], 200)
        raise CabenchError(f"--device: {shown(asked)} can't be used here: {reason}") from None
    return asked
