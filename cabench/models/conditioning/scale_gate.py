"""Scale and tanh gate, without a shift (Lumina-Image 2.0, Z-Image).

Both also normalise the branch's output before the gate; our backbones do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cabench.models.conditioning.adaln import AdaLN
from cabench.models.conditioning.base import Convention
from cabench.models.operations import Modulation
from cabench.models.sites import NormHook
from cabench.registry import METHODS


@METHODS.register("scale_gate")
class ScaleGate(AdaLN):
    """SiLU, then a zero-initialised map per norm -> its scale s and, in blocks, gate tanh(g)."""

    version = 1
    gated = True
    convention = Convention(
        quantity="scale, tanh of the gate of each norm",
        static="bias of the map; the norm has no affine",
        initial="0",
        published="a norm after each branch",
    )

    def parts(self, norm: NormHook) -> int:
        return 2 if norm.gated else 1

    @staticmethod
    def modulation(parts: Sequence[Tensor]) -> Modulation:
        scale, *gate = parts
        return Modulation(torch.zeros_like(scale), scale, *map(torch.tanh, gate))
