"""Mixture of experts routed by the condition, after Switch-DiT (arXiv 2403.09176).

Experts stand beside the feed-forward part, which is the shared one; a sample's timestep chooses
among them. Switch-DiT's loss on the router (diffusion prior) isn't part of it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import gather
from cabench.models.init import parameter, tag
from cabench.models.sites import Branch, BranchHook, Given
from cabench.registry import METHODS


class MoEOptions(MethodOptions):
    source: str | list[str] = Field("timestep", description="what the router is told")
    experts: Annotated[int, Field(ge=2, le=256)] = 4
    top: Annotated[int, Field(ge=1, le=256)] = Field(2, description="experts a sample")
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="inner width of an expert; a quarter of the feed-forward part's"
    )

    @model_validator(mode="after")
    def top_of_the_experts(self) -> MoEOptions:
        if self.top > self.experts:
            raise ValueError(f"top: found {self.top}; there are {self.experts} experts")
        return self


class Experts(nn.Module):
    """h (B, N, D), c (B, width) -> sum over the chosen experts, router's share times (B, N, D)."""

    def __init__(self, hook: BranchHook, width: int, options: MoEOptions):
        super().__init__()
        self.top = options.top
        hidden = options.hidden or max(1, hook.size // 4)
        self.router = tag(nn.Linear(width, options.experts), weight="lecun", bias="zeros")
        self.expand = parameter(options.experts, hidden, hook.width, init="xavier", stack=True)
        self.project = parameter(options.experts, hook.width, hidden, init="zeros")

    def route(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Shares and numbers of the chosen experts, each (B, top)."""
        return torch.topk(self.router(c).softmax(1), self.top, dim=1)

    def forward(self, h: Tensor, share: Tensor, which: Tensor) -> Tensor:
        expand = self.expand[which].flatten(1, 2)  # (B, top * hidden, D)
        project = self.project[which] * share[:, :, None, None]
        project = project.transpose(1, 2).flatten(2)  # (B, D, top * hidden)
        return torch.bmm(gelu_tanh(torch.bmm(h, expand.mT)), project.mT)


@METHODS.register("moe")
class MoE(Method):
    """Experts beside each feed-forward part, chosen by the timestep; nothing at the start."""

    distinct = True
    Options = MoEOptions
    hooks = ("ffn",)

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source = options.source
        hooks = [h for h in layout.branches if h.hook == "ffn"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(Experts(h, width, options) for h in hooks)

    def forward(self, embedded) -> Given:
        c = gather(embedded, self.source)  # (B, width)
        pairs = zip(self.addresses, self.layers, strict=True)
        return Given(branches={a: Branch(layer, layer.route(c)) for a, layer in pairs})
