"""Depthwise kernels made from a text's tokens, after DiCo (arXiv 2505.11196).

DiCo maps text tokens by an MLP to a kernel for each channel, which runs as one convolution of
B * C groups. Here each token goes through the MLP and a text's kernel is the mean over its tokens;
it adds to the static kernel and starts at zero, as CAN's does [assumption].
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.conditioning.placement import chosen
from cabench.models.embedding import TIMESTEP, mean_over, sequence
from cabench.models.init import parameter, tag
from cabench.models.sites import DenseDelta, Given, Site
from cabench.registry import METHODS


class TextKernelsOptions(MethodOptions):
    source: str | list[str] = Field(
        "text", description="the streams whose tokens it is told; a label or timestep is one token"
    )
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="inner width of the MLP; that of the embedding"
    )


class Kernels(nn.Module):
    """tokens (B, L, width), mask (B, L) | None -> (B, C, 1, k, k), zero at the start."""

    def __init__(self, width: int, site: Site, hidden: int):
        super().__init__()
        self.shape = site.shape  # C, 1, k, k
        self.hidden = tag(nn.Linear(width, hidden), weight="lecun", bias="zeros")
        self.out = parameter(site.shape[0] * site.shape[2] * site.shape[3], hidden, init="zeros")

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        h = F.silu(self.hidden(tokens))  # (B, L, hidden)
        # The mean before the linear map that follows: one kernel to make, not L
        if mask is None:
            h = sum(h.unbind(1)) / h.shape[1]
        else:
            h = mean_over(h, mask)
        return F.linear(h, self.out).unflatten(1, self.shape)


@METHODS.register("text_kernels")
class TextKernels(Method):
    """W + W_text in each depthwise convolution, W_text from the text's tokens."""

    distinct = True
    Options = TextKernelsOptions

    @classmethod
    def sites(cls, options, offered):
        return ("depthwise",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source, hidden = options.source, options.hidden or width
        layers = chosen(layout, ["depthwise"])
        self.addresses = [site.address for site in layers]
        self.kernels = nn.ModuleList(Kernels(width, site, hidden) for site in layers)

    def forward(self, embedded) -> Given:
        # A text stays through a trajectory of sampling, and so do its kernels
        kept = {} if embedded.kept is None or TIMESTEP in self.source else embedded.kept
        if self not in kept:
            told = sequence(embedded, self.source)
            kept[self] = [[DenseDelta(kernels(*told))] for kernels in self.kernels]
        return Given(operations=dict(zip(self.addresses, kept[self], strict=True)))
