"""CAN (Condition-Aware Neural Network, arXiv 2404.01143, section 3): W + W_c, W_c generated."""

from __future__ import annotations

from torch import nn

from cabench.models.condition import gather
from cabench.models.conditioning.base import Method
from cabench.models.conditioning.generators import GeneratorOptions, chosen, group
from cabench.models.sites import DenseDelta, Given
from cabench.registry import METHODS


@METHODS.register("can")
class CAN(Method):
    """W + W_c at the chosen sites, W_c generated from the condition, zero at the start."""

    distinct = True
    Options = GeneratorOptions

    @classmethod
    def sites(cls, options, offered):
        return tuple(offered) if options.sites == "all" else tuple(options.sites)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.served: dict[str, str] = {}  # address -> generator
        self.generators = nn.ModuleDict()
        for site in chosen(layout, options.sites):
            name = self.served[site.address] = group(site, options.shared)
            if name not in self.generators:
                self.generators[name] = options.build(width, site.shape)

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        made = {name: DenseDelta(generator(c)) for name, generator in self.generators.items()}
        return Given(operations={a: [made[name]] for a, name in self.served.items()})
