"""An idea of one's own, as an example: gate each channel of the depthwise convolutions.

CAN generates 3x3 kernels for every channel; is a single number for each channel enough? The static
kernel of channel i is multiplied by 1 + g_i(c), g zero at the start: one generated number where CAN
generates nine. Run it beside a study's own arms, which are not trained again:

    cabench run studies/layer_placement.yaml --plugin examples/gated_kernels.py \
        --arm '{native+gated-dw: {methods: [native, gated_kernels]}}'
"""

from __future__ import annotations

from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import gather
from cabench.models.init import tag
from cabench.models.sites import Given, Operation
from cabench.registry import METHODS


class ScaledOutput(Operation):
    """y + g * (y without its bias): the same as a kernel multiplied by 1 + g."""

    def __init__(self, gain):
        self.gain = gain  # (B, C)

    def output(self, x, layer):  # x (B, N, C) -> (B, N, C)
        y = layer(x, Given()) - layer.bias
        return self.gain.unsqueeze(1) * y


class Options(MethodOptions):
    bias: bool = True  # whether the gates' linear maps have one


@METHODS.register("gated_kernels")
class GatedKernels(Method):
    """One zero-initialised linear map a depthwise layer: condition -> a gain for each channel."""

    Options = Options

    @classmethod
    def sites(cls, options, offered):
        return ("depthwise",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.addresses = [site.address for site in layout.sites if site.kind == "depthwise"]
        self.maps = nn.ModuleList(
            tag(nn.Linear(width, site.shape[0], bias=options.bias), weight="zeros", bias="zeros")
            for site in layout.sites
            if site.kind == "depthwise"
        )

    def forward(self, embedded):
        c = gather(embedded, self.source)  # (B, width)
        gains = [ScaledOutput(linear(c)) for linear in self.maps]
        return Given(operations={a: [g] for a, g in zip(self.addresses, gains, strict=True)})
