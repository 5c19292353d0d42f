"""A run under torchrun: its rank 0 runs the study, the others follow it trial by trial."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cabench.diffusion.ranks import ALONE, Ranks, from_torchrun, joined
from cabench.errors import CabenchError, shown
from cabench.runtime.devices import pick_device
from cabench.runtime.signals import ignore_stopping
from cabench.runtime.threads import one_thread


@contextlib.contextmanager
def team(device: str) -> Iterator[Ranks]:
    """The ranks that torchrun started, or this process alone; rank 0 dismisses the others."""
    place = from_torchrun()
    if place is None:
        yield ALONE
        return
    rank, count, local = place
    if ":" in device:
        raise CabenchError(
            f"--device: expected cuda, cpu or auto under torchrun, got {shown(device)}"
        )
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(local)  # before the device is tried
    if rank:  # the leader stops the trial; then its connections close, or torchrun ends the others
        ignore_stopping()
    with one_thread(), joined(rank, count, pick_device(device), local) as ranks:
        try:
            yield ranks
        except CabenchError:
            ranks.dismiss()
            raise
        ranks.dismiss()
