"""Which device trials run on."""

from __future__ import annotations

from cabench.errors import CabenchError
from cabench.registry import near

DEVICES = ("cpu", "cuda", "mps")


def pick_device(asked: str) -> str:
    """A device that works here; 'auto' is CUDA where there is one, else the CPU."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.split(":")[0] not in DEVICES:
        raise CabenchError(
            f"--device: found '{asked}'{near(asked, DEVICES)}; allowed: auto, {', '.join(DEVICES)}"
        )
    try:
        torch.empty(1, device=asked)
    except Exception as error:  # torch raises many kinds, one for each backend
        reason = str(error).splitlines()[0]
        raise CabenchError(f"--device: '{asked}' can't be used here: {reason}") from None
    return asked
