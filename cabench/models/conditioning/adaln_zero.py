"""adaLN-Zero (DiT, arXiv 2212.09748, section 3.2): DiT's native conditioning."""

from __future__ import annotations

from cabench.models.conditioning.adaln import AdaLN
from cabench.models.conditioning.base import Convention
from cabench.registry import METHODS


@METHODS.register("adaln_zero")
class AdaLNZero(AdaLN):
    """SiLU, then a zero-initialised linear map per norm -> shift, scale and (in blocks) gate."""

    gated = True
    convention = Convention(
        quantity="shift, scale, gate of each norm",
        static="bias of the map; the norm has no affine",
        initial="0",
        published="",
    )
