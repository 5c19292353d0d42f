"""Placement: which layers a method of weights acts on, and which of them share what it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.sites import SITES, Layout, Site

PER_LAYER = ("depthwise", "agg", "patch_embed")  # the others share one weight [assumption]


class SiteOptions(MethodOptions):
    """Options of methods that act on weights: which, and what is shared."""

    sites: Literal["all"] | Annotated[list[Literal[SITES]], Field(min_length=1)] = Field(
        ["depthwise", "patch_embed", "attn_out"], description="kinds of layer to make aware"
    )
    shared: bool = Field(
        True,
        description="one generated weight for all layers of equal kind and shape, "
        "but for depthwise, agg and patch_embed",
    )


class SiteMethod(Method):
    """A method whose options name `sites`: kinds of layer, or 'all'."""

    distinct = True

    @classmethod
    def sites(cls, options, offered):
        return tuple(offered) if options.sites == "all" else tuple(options.sites)


def chosen(layout: Layout, sites: str | list[str]) -> list[Site]:
    """The layers of the kinds asked for, or all."""
    return [s for s in layout.sites if sites == "all" or s.kind in sites]


def group(site: Site, shared: bool) -> str:
    """The name of the generator that serves `site`."""
    if shared and site.kind not in PER_LAYER:
        return f"{site.kind}_" + "x".join(map(str, site.shape))
    return site.address.replace(".", "_")


def serve(
    layout: Layout, options: Any, make: Callable[[Site], nn.Module]
) -> tuple[dict[str, str], nn.ModuleDict]:
    """{address: name} of the module that serves each layer asked for, and the modules by name.

    `options` has `sites` and `shared`; `make` builds the module of a group's first layer.
    """
    served: dict[str, str] = {}
    modules = nn.ModuleDict()
    for site in chosen(layout, options.sites):
        name = served[site.address] = group(site, options.shared)
        if name not in modules:
            modules[name] = make(site)
    return served, modules
