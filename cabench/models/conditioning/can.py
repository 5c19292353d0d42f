"""CAN (Condition-Aware Neural Network, arXiv 2404.01143, section 3): W + W_c, W_c generated."""

from __future__ import annotations

from cabench.models.conditioning.generators import GeneratorOptions, generate
from cabench.models.conditioning.placement import SiteMethod, serve
from cabench.models.embedding import Embedded
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import Layout
from cabench.registry import METHODS


@METHODS.register("can")
class CAN(SiteMethod):
    """W + W_c at the chosen sites; W_c is generated from the condition and starts at zero."""

    Options = GeneratorOptions

    def __init__(self, options: GeneratorOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.served, self.generators = serve(
            layout, options, lambda site: options.build(width, site.shape)
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        deltas = {
            name: DenseDelta(generate(generator, embedded, self.source))
            for name, generator in self.generators.items()
        }
        return Conditioning(operations={a: [deltas[name]] for a, name in self.served.items()})
