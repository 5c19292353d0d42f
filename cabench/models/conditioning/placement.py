"""Placement: which layers a weight-space method acts on, and which layers share one generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Method, VectorOptions
from cabench.models.sites import Layout, LinearSite, Site, SiteKind

Sites = Literal["all"] | Annotated[list[SiteKind], Field(min_length=1)]
LinearSites = Annotated[list[LinearSite], Field(min_length=1)]

PER_LAYER = ("depthwise", "agg", "patch_embed")  # never shared between layers [assumption]


class SiteOptions(VectorOptions):
    """Options of methods that act on weights: which sites, and what is shared."""

    sites: Sites = Field(
        ["depthwise", "patch_embed", "attn_out"], description="kinds of layer to condition"
    )
    shared: bool = Field(
        True,
        description="one generated weight for all layers of equal kind and shape, except "
        "depthwise, agg and patch_embed",
    )


class Placed(Protocol):
    """Options that say on which sites a method acts."""

    @property
    def sites(self) -> Literal["all"] | Sequence[str]: ...


class Shared(Placed, Protocol):
    """Options that also say whether layers share a generator."""

    @property
    def shared(self) -> bool: ...


class SiteMethod(Method):
    """A method whose options name `sites`: kinds of layer, or 'all'."""

    distinct = True

    @classmethod
    def sites(cls, options: Placed, offered: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(offered) if options.sites == "all" else tuple(options.sites)


def chosen(layout: Layout, sites: Literal["all"] | Sequence[str]) -> list[Site]:
    """The layers of these kinds, or all."""
    return [s for s in layout.sites if sites == "all" or s.kind in sites]


def group(site: Site, shared: bool) -> str:
    """The name of the generator that serves this layer."""
    if shared and site.kind not in PER_LAYER:
        return f"{site.kind}_" + "x".join(map(str, site.shape))
    return site.address.replace(".", "_")


def serve(
    layout: Layout, options: Shared, build: Callable[[Site], nn.Module]
) -> tuple[dict[str, str], nn.ModuleDict]:
    """One module per group of layers: {address: name of its module}, and the modules by name.

    `build` returns the module for the first layer of a group.
    """
    served: dict[str, str] = {}
    modules = nn.ModuleDict()
    for site in chosen(layout, options.sites):
        name = served[site.address] = group(site, options.shared)
        if name not in modules:
            modules[name] = build(site)
    return served, modules
