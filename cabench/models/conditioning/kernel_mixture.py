"""Kernel mixture: the CAN paper's adaptive kernel selection (AKS), its rival to direct generation.

K basis kernels of a layer are mixed by coefficients that the condition generates (CondConv,
arXiv 1904.04971), instead of generating the kernel itself. Nothing is known of the paper's K.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.placement import SiteMethod, SiteOptions, serve
from cabench.models.embedding import gather
from cabench.models.init import parameter, tag
from cabench.models.sites import DenseDelta, Given, Site
from cabench.registry import METHODS


class KernelMixtureOptions(SiteOptions):
    kernels: Annotated[int, Field(ge=2, le=64)] = Field(4, description="K, basis kernels a layer")
    form: Literal["add", "condconv", "convex"] = Field(
        "add",
        description="add: W + sum a_k B_k; condconv: W is the first of the K kernels, "
        "coefficients sigmoid; convex: the same with softmax",
    )


class Mixture(nn.Module):
    """c (B, width) -> the mixed kernel of one layer, (B, *shape).

    The bases are drawn as the static kernel is; where that is zero at the start, with the spread
    1/sqrt(fan-in), for bases of zeros would never come apart. `add`: the coefficients are linear in
    c, zero at the start. `condconv`, `convex`: they are equal at the start, when the mixed kernel
    has the spread of one kernel; `condconv` scales its sigmoids for that, `convex`, whose
    coefficients sum to 1, draws its bases sqrt(K + 1) times as wide (the static kernel keeps its
    own spread, so it has 1/K^2 of the mixed kernel's variance then). A kernel that is zero at the
    start stays so under either: it is mixed as by `add`.
    """

    def __init__(self, width: int, site: Site, options: KernelMixtureOptions):
        super().__init__()
        empty = site.init == "zeros"
        self.form = "add" if empty else options.form
        k = options.kernels
        own = self.form != "add"  # the static kernel is one of the K
        rule = "lecun" if empty else site.init
        wider = math.sqrt(k + 1) if self.form == "convex" else 1
        self.bases = parameter(
            k - own, *site.shape, init=rule, spread=site.spread * wider, stack=True
        )
        self.coefficients = tag(nn.Linear(width, k, bias=own), weight="zeros")
        if own:
            tag(self.coefficients, bias="zeros")
        self.scale = 2 / math.sqrt(k)

    def forward(self, c: Tensor) -> DenseDelta:
        a = self.coefficients(c)  # (B, K)
        if self.form == "add":
            return DenseDelta(self._mixed(a))
        a = self.scale * a.sigmoid() if self.form == "condconv" else a.softmax(1)
        return DenseDelta(self._mixed(a[:, 1:]), keep=a[:, 0])

    def _mixed(self, a: Tensor) -> Tensor:
        return torch.mm(a, self.bases.flatten(1)).unflatten(1, self.bases.shape[1:])


@METHODS.register("kernel_mixture")
class KernelMixture(SiteMethod):
    """Adaptive kernel selection: K basis kernels at the chosen sites, mixed by the condition."""

    version = 2

    Options = KernelMixtureOptions

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        self.served, self.mixtures = serve(
            layout, options, lambda site: Mixture(width, site, options)
        )

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        made = {name: mixture(c) for name, mixture in self.mixtures.items()}
        return Given(operations={a: [made[name]] for a, name in self.served.items()})
