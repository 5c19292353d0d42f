"""CAN (Condition-Aware Neural Network, arXiv 2404.01143, section 3): W + W_c, W_c generated.

Linear generators have no activation, so the label's and the timestep's parts add up.
They have no bias either: W already is the part that doesn't depend on the condition, and a second
copy of it would let W alone learn at twice the rate of the static control's.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.condition import gather
from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.init import parameter
from cabench.models.sites import SITES, DenseDelta, Given, Site
from cabench.registry import METHODS

PER_LAYER = ("depthwise", "patch_embed")  # the others share one generated weight [assumption]


class LinearGenerator(nn.Module):
    """c (B, width) -> (B, *shape), zero at the start."""

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool):
        super().__init__()
        self.shape = shape
        self.weight = parameter(math.prod(shape), width, init="zeros")
        self.bias = parameter(math.prod(shape), init="zeros") if bias else None

    def forward(self, c: Tensor) -> Tensor:
        return nn.functional.linear(c, self.weight, self.bias).unflatten(1, self.shape)


class BottleneckGenerator(LinearGenerator):
    """c (B, width) -> (B, rank) -> (B, *shape); linear throughout, zero at the start."""

    def __init__(self, width: int, shape: tuple[int, ...], bias: bool, rank: int):
        super().__init__(rank, shape, bias)
        self.down = parameter(rank, width, init="lecun")

    def forward(self, c: Tensor) -> Tensor:
        return super().forward(nn.functional.linear(c, self.down))


class CANOptions(MethodOptions):
    sites: Literal["all"] | Annotated[list[Literal[SITES]], Field(min_length=1)] = Field(
        ["depthwise", "patch_embed", "attn_out"], description="kinds of layer to make aware"
    )
    generator: Literal["linear", "bottleneck"] = "linear"
    rank: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="of a bottleneck"
    )
    shared: bool = Field(
        True, description="one generated weight for all layers of equal kind and shape, "
        "but for depthwise and patch_embed",
    )  # fmt: skip
    bias: bool = Field(False, description="a bias in the generator")

    @model_validator(mode="after")
    def rank_is_a_bottlenecks(self) -> CANOptions:
        if self.rank is not None and self.generator != "bottleneck":
            raise ValueError("rank is the size of a bottleneck: say generator: bottleneck")
        return self

    def set_size(self, by: str, size: int) -> bool:
        if by != "rank" or self.generator != "bottleneck":
            return False
        self.rank = size
        return True

    def problem(self) -> str | None:
        if self.generator == "bottleneck" and self.rank is None:
            return "a bottleneck needs a rank, or match: {by: rank}"
        return None


def group(site: Site, shared: bool) -> str:
    """The name of the generator that serves `site`."""
    if shared and site.kind not in PER_LAYER:
        return f"{site.kind}_" + "x".join(map(str, site.shape))
    return site.address.replace(".", "_")


@METHODS.register("can")
class CAN(Method):
    """W + W_c at the chosen sites, W_c generated from the condition, zero at the start."""

    Options = CANOptions

    @classmethod
    def sites(cls, options, offered):
        return tuple(offered) if options.sites == "all" else tuple(options.sites)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        chosen = [s for s in layout.sites if options.sites == "all" or s.kind in options.sites]
        self.served = {s.address: group(s, options.shared) for s in chosen}  # address -> generator
        self.generators = nn.ModuleDict()
        for site in chosen:
            name = self.served[site.address]
            if name in self.generators:
                continue
            if options.generator == "bottleneck":
                made = BottleneckGenerator(width, site.shape, options.bias, options.rank)
            else:
                made = LinearGenerator(width, site.shape, options.bias)
            self.generators[name] = made

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        made = {name: DenseDelta(generator(c)) for name, generator in self.generators.items()}
        return Given(operations={a: [made[name]] for a, name in self.served.items()})
