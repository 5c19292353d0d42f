"""An example plugin: a generated gate for each channel of a depthwise convolution.

CAN generates a 3x3 kernel for every channel. Is one number per channel enough? Here the static
kernel of channel i is multiplied by 1 + g_i(c); g starts at zero. Beside the arms of a study:

    cabench run studies/layer_placement.yaml --plugin examples/gated_kernels.py \
        --arm '{native+gated-dw: {methods: [native, gated_kernels]}}'
"""

from __future__ import annotations

from torch import Tensor, nn

from cabench.models.conditioning.base import Method, VectorOptions
from cabench.models.embedding import Embedded
from cabench.models.init import tag
from cabench.models.operations import Conditioning, Operation
from cabench.models.sites import Layout
from cabench.registry import METHODS


class ScaledOutput(Operation):
    """y + g * (y - bias), which equals multiplying the kernel by 1 + g."""

    def __init__(self, gain: Tensor):
        self.gain = gain  # (B, C)

    def output(self, x: Tensor, layer: nn.Module) -> Tensor:
        y = layer(x, Conditioning()) - layer.bias  # (B, N, C)
        return self.gain.unsqueeze(1) * y  # (B, N, C)


class Options(VectorOptions):
    bias: bool = False  # a bias in the maps of the gates; W already has a term without condition


@METHODS.register("gated_kernels")
class GatedKernels(Method):
    """SiLU, then a zero-initialised linear map per depthwise layer -> a gain per channel."""

    Options = Options
    compiles = True

    @classmethod
    def sites(cls, options: Options, offered: tuple[str, ...]) -> tuple[str, ...]:
        return ("depthwise",)

    def __init__(self, options: Options, layout: Layout, width: int):
        super().__init__(options, layout, width)
        layers = [site for site in layout.sites if site.kind == "depthwise"]
        self.addresses = [site.address for site in layers]
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, site.shape[0], bias=options.bias), weight="zeros", bias="zeros")
            for site in layers
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width): sum / sqrt(k), then SiLU
        pairs = zip(self.addresses, self.maps, strict=True)
        return Conditioning(operations={a: [ScaledOutput(linear(c))] for a, linear in pairs})
