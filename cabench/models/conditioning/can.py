"""CAN (Condition-Aware Neural Network, arXiv 2404.01143, section 3): W + W_c, W_c generated."""

from __future__ import annotations

from cabench.models.conditioning.generators import GeneratorOptions, generated
from cabench.models.conditioning.placement import SiteMethod, serve
from cabench.models.sites import DenseDelta, Given
from cabench.registry import METHODS


@METHODS.register("can")
class CAN(SiteMethod):
    """W + W_c at the chosen sites, W_c generated from the condition, zero at the start."""

    Options = GeneratorOptions

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.served, self.generators = serve(
            layout, options, lambda site: options.build(width, site.shape)
        )

    def forward(self, embedded) -> Given:
        made = {
            name: DenseDelta(generated(generator, embedded, self.source))
            for name, generator in self.generators.items()
        }
        return Given(operations={a: [made[name]] for a, name in self.served.items()})
