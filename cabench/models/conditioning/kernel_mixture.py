"""Kernel mixture: adaptive kernel selection (AKS), the CAN paper's rival to direct generation.

Coefficients generated from the condition mix K basis kernels of a layer (CondConv, arXiv
1904.04971). The CAN paper does not state its K.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.placement import SiteMethod, SiteOptions, serve
from cabench.models.embedding import Embedded
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, DenseDelta
from cabench.models.sites import Layout, Site
from cabench.registry import METHODS


class KernelMixtureOptions(SiteOptions):
    """Options of `kernel_mixture`."""

    kernels: Annotated[int, Field(ge=2, le=64)] = Field(4, description="K, basis kernels per layer")
    form: Literal["add", "condconv", "convex"] = Field(
        "add",
        description="add: W + sum a_k B_k; condconv: W is the first of the K kernels, "
        "coefficients sigmoid; convex: the same with softmax",
    )


class Mixture(nn.Module):
    """c (B, width) -> the mixed kernel of one layer, (B, *shape).

    The coefficients are linear in c, without bias: W, or the mean of the K kernels, is the term
    that depends on no condition.

    `add`: the coefficients start at zero.

    `condconv`, `convex`: the static kernel is one of the K, the coefficients start equal, and the
    mixed kernel starts with the spread of one kernel. For that, `condconv` scales its sigmoids;
    `convex`, whose coefficients sum to 1, draws its bases sqrt(K + 1) times as wide. The static
    kernel keeps its own spread and so has 1 / K^2 of the mixed kernel's variance at the start.

    The bases are initialised like the static kernel. Where that starts at zero, bases of zeros
    would stay equal for ever. They are drawn with the spread 1 / sqrt(fan-in) instead and, under
    every form, mixed as in `add`, so that the kernel still starts at zero.
    """

    def __init__(self, width: int, site: Site, options: KernelMixtureOptions):
        super().__init__()
        starts_at_zero = site.init == "zeros"
        self.form = "add" if starts_at_zero else options.form
        k = options.kernels
        static = self.form != "add"  # the static kernel is one of the K
        init = "lecun" if starts_at_zero else site.init
        wider = math.sqrt(k + 1) if self.form == "convex" else 1
        self.bases = parameter(
            k - static, *site.shape, init=init, scale=site.scale * wider, stack=True
        )
        self.coefficients = tag(nn.Linear(width, k, bias=False), weight="zeros")
        self.scale = 2 / math.sqrt(k)

    def forward(self, c: Tensor) -> DenseDelta:
        a = self.coefficients(c)  # (B, K)
        if self.form == "add":
            return DenseDelta(self._mixed(a))
        a = self.scale * a.sigmoid() if self.form == "condconv" else a.softmax(1)
        return DenseDelta(self._mixed(a[:, 1:]), keep=a[:, 0])

    def _mixed(self, a: Tensor) -> Tensor:
        return torch.mm(a, self.bases.flatten(1)).unflatten(1, self.bases.shape[1:])  # (B, *shape)


@METHODS.register("kernel_mixture")
class KernelMixture(SiteMethod):
    """Adaptive kernel selection: K basis kernels at the chosen sites, mixed by the condition."""

    version = 3
    Options = KernelMixtureOptions
    convention = Convention(
        quantity="weight",
        static="W (add); the K kernels at equal coefficients (condconv, convex)",
        initial="coefficients 0 or equal; bases as W, N(0, 1/inputs) where W is 0",
        published="CondConv takes the coefficients from the features, by a map with a bias; "
        "the CAN paper states neither K nor form",
    )

    def __init__(self, options: KernelMixtureOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.served, self.mixtures = serve(
            layout, options, lambda site: Mixture(width, site, options)
        )

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        deltas = {name: mixture(c) for name, mixture in self.mixtures.items()}
        return Conditioning(operations={a: [deltas[name]] for a, name in self.served.items()})
