"""CAN (Condition-Aware Neural Network, arXiv 2404.01143, section 3): W + W_c, W_c generated."""

from __future__ import annotations

import math

from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.generators import GeneratorOptions, generate
from cabench.models.conditioning.placement import SiteMethod, chosen, serve
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("can")
class CAN(SiteMethod):
    """W + W_c at the chosen sites; W_c is generated from the condition and starts at zero."""

    version = 2
    Options = GeneratorOptions
    convention = Convention(
        quantity="weight",
        static="W",
        initial="0; bottleneck, hidden layer: N(0, 1/inputs)",
        published="the paper states neither activation, bias, initial values nor sharing",
    )

    def __init__(self, options: GeneratorOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.served, self.generators = serve(
            layout, options, lambda site: options.build(width, site.shape, options.bias)
        )
        by_fan_in = options.scale == "fan_in"
        self.scales = {
            self.served[site.address]: math.prod(site.shape[1:]) ** -0.5 if by_fan_in else 1.0
            for site in chosen(layout, options.sites)
        }

    def forward(self, embedded: Embedded) -> Conditioning:
        deltas = {}
        for name, generator in self.generators.items():
            delta, scale = generate(generator, self, embedded), self.scales[name]
            deltas[name] = DenseDelta(delta if scale == 1 else delta * scale)
        return Conditioning(operations={a: [deltas[name]] for a, name in self.served.items()})
