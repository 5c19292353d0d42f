"""Timestep mixture, after Remix-DiT (arXiv 2412.05628): basis networks mixed by the timestep.

Remix-DiT trains K basis networks and mixes them, with learned convex coefficients, into an expert
for each interval of the timestep. Here the coefficients are a softmax of a linear map of the
timestep embedding, one map per layer, so there are no fixed intervals, and no prior that draws the
coefficients of an interval towards its own basis.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.kernel_mixture import KernelMixture, KernelMixtureOptions
from cabench.models.conditioning.placement import Sites
from cabench.registry import METHODS


class TimestepMixtureOptions(KernelMixtureOptions):
    """Options of `timestep_mixture`."""

    source: Literal["timestep"] | list[Literal["timestep"]] = Field(
        "timestep", description="the timestep alone"
    )
    sites: Sites = Field(
        ["attn_qkv", "attn_out", "ffn_in", "ffn_out"], description="kinds of layer to mix"
    )
    shared: bool = Field(False, description="one mixture for all layers of equal kind and shape")
    form: Literal["convex"] = Field("convex", description="coefficients by a softmax")


@METHODS.register("timestep_mixture")
class TimestepMixture(KernelMixture):
    """Remix-DiT: K basis weights per layer, mixed by the timestep (softmax), not by the label."""

    Options = TimestepMixtureOptions
    convention = Convention(
        quantity="weight",
        static="the K kernels at equal coefficients",
        initial="coefficients equal; bases as W, sqrt(K + 1) times as wide",
        published="one mixture per interval of t, with a prior towards its own basis",
    )
