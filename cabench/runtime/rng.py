"""Named random streams: a draw depends on (seed, purpose, index), never on earlier draws.

So arms are paired, a resumed run needs no generator state, and samples do not depend on the batch
size.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for (seed, purpose...)."""
    text = "/".join(str(p) for p in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: str = "cpu") -> torch.Generator:
    """A generator for (seed, purpose...): of the CPU, or of a GPU, whose numbers are others.

    A GPU's is counter-based (Philox, Salmon et al. 2011); seeding it waits for nothing.
    """
    return torch.Generator(device).manual_seed(derive(seed, *purpose))
