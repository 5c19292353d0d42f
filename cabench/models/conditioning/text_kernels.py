"""Depthwise kernels generated from the tokens of a text, after DiCo (arXiv 2505.11196).

DiCo maps text tokens by an MLP to a kernel per channel, applied as one convolution of B * C groups.
Here each token passes through the map, and the kernel is the mean over the text's tokens. It is
added to the static kernel and starts at zero, as in CAN [assumption].
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention, Method, MethodOptions
from cabench.models.conditioning.placement import chosen
from cabench.models.embedding import TIMESTEP, Embedded, mean_over, sequence, total
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import Layout, Site
from cabench.registry import METHODS


class TextKernelsOptions(MethodOptions):
    """Options of `text_kernels`."""

    source: str | list[str] = Field(
        "text",
        description="streams whose tokens it is conditioned on; a label or timestep is one token",
    )
    generator: Literal["linear", "mlp"] = Field(
        "linear", description="linear: SiLU, linear; mlp: linear, SiLU, linear"
    )
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="hidden width of the mlp; default: the embedding's width"
    )

    @model_validator(mode="after")
    def hidden_is_not_a_linear_ones(self) -> TextKernelsOptions:
        if self.hidden is not None and self.generator == "linear":
            raise ValueError("hidden needs generator: mlp")
        return self


class Kernels(nn.Module):
    """tokens (B, L, width), mask (B, L) or None -> kernels (B, C, 1, k, k), zero at the start."""

    def __init__(self, width: int, site: Site, hidden: int | None):
        super().__init__()
        self.shape = site.shape  # (C, 1, k, k)
        self.hidden = None
        if hidden is not None:
            self.hidden = tag(nn.Linear(width, hidden), weight="lecun", bias="zeros")
        self.out = parameter(math.prod(site.shape), hidden or width, init="zeros")

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        h = F.silu(tokens if self.hidden is None else self.hidden(tokens))  # (B, L, hidden)
        # The mean comes before the linear map: that then generates one kernel instead of L
        mean = total(h.unbind(1)) / h.shape[1] if mask is None else mean_over(h, mask)
        return F.linear(mean, self.out).unflatten(1, self.shape)  # (B, C, 1, k, k)


@METHODS.register("text_kernels")
class TextKernels(Method):
    """W + W_text in each depthwise convolution, with W_text from the text's tokens."""

    version = 2
    distinct = True
    Options = TextKernelsOptions
    published = {"generator": "mlp"}
    convention = Convention(
        quantity="depthwise kernel",
        static="W",
        initial="0; hidden layer N(0, 1/inputs)",
        published="no static kernel beside the generated one",
    )

    @classmethod
    def sites(cls, options: MethodOptions, offered: tuple[str, ...]) -> tuple[str, ...]:
        return ("depthwise",)

    def __init__(self, options: TextKernelsOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        hidden = None if options.generator == "linear" else options.hidden or width
        layers = chosen(layout, ["depthwise"])
        self.addresses = [site.address for site in layers]
        self.kernels = nn.ModuleList(Kernels(width, site, hidden) for site in layers)

    def forward(self, embedded: Embedded) -> Conditioning:
        # The text stays the same through a sampling trajectory, and so do its kernels
        cache = {} if embedded.cache is None or TIMESTEP in self.source else embedded.cache
        if self not in cache:
            tokens, mask = sequence(embedded, self.source)  # (B, L, width), (B, L) or None
            cache[self] = [[DenseDelta(kernels(tokens, mask))] for kernels in self.kernels]
        return Conditioning(operations=dict(zip(self.addresses, cache[self], strict=True)))
