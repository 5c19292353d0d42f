"""Mixture of experts routed by the condition, after Switch-DiT (arXiv 2403.09176).

The experts stand beside the feed-forward part, which acts as the shared expert. The condition
selects among them. Switch-DiT's loss on the router (diffusion prior) is left out.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import Embedded, gather
from cabench.models.init import parameter, tag
from cabench.models.operations import Branch, Conditioning
from cabench.models.sites import BranchHook, Layout
from cabench.registry import METHODS


class MoEOptions(MethodOptions):
    """Options of `moe`."""

    source: str | list[str] = Field("timestep", description="what the router is conditioned on")
    experts: Annotated[int, Field(ge=2, le=256)] = 4
    top: Annotated[int, Field(ge=1, le=256)] = Field(2, description="experts per sample")
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="hidden width of an expert; default: a quarter of the feed-forward part's"
    )

    @model_validator(mode="after")
    def top_of_the_experts(self) -> MoEOptions:
        if self.top > self.experts:
            raise ValueError(f"top: expected at most {self.experts} experts, got {self.top}")
        return self


class Experts(nn.Module):
    """Weighted sum of the chosen experts: h (B, N, D), share and which (B, top) -> (B, N, D)."""

    def __init__(self, hook: BranchHook, width: int, options: MoEOptions):
        super().__init__()
        self.top = options.top
        hidden = options.hidden or max(1, hook.size // 4)
        self.router = tag(nn.Linear(width, options.experts), weight="lecun", bias="zeros")
        self.expand = parameter(options.experts, hidden, hook.width, init="xavier", stack=True)
        self.project = parameter(options.experts, hook.width, hidden, init="zeros")

    def route(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Shares and indices of the chosen experts, (B, top) each."""
        return torch.topk(self.router(c).softmax(1), self.top, dim=1)

    def forward(self, h: Tensor, share: Tensor, which: Tensor) -> Tensor:
        expand = self.expand[which].flatten(1, 2)  # (B, top * hidden, D)
        project = self.project[which] * share[:, :, None, None]
        project = project.transpose(1, 2).flatten(2)  # (B, D, top * hidden)
        return torch.bmm(gelu_tanh(torch.bmm(h, expand.mT)), project.mT)  # (B, N, D)


@METHODS.register("moe")
class MoE(Method):
    """Experts beside each feed-forward part, chosen by the condition; zero at the start."""

    distinct = True
    Options = MoEOptions
    hooks = ("ffn",)

    def __init__(self, options: MoEOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        hooks = [h for h in layout.branches if h.hook == "ffn"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(Experts(h, width, options) for h in hooks)

    def forward(self, embedded: Embedded) -> Conditioning:
        c = gather(embedded, self.source)  # (B, width)
        branches = {}
        for address, layer in zip(self.addresses, self.layers, strict=True):
            assert isinstance(layer, Experts)
            branches[address] = Branch(layer, layer.route(c))
        return Conditioning(branches=branches)
