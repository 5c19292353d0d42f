"""Timestep mixture of experts: a router conditioned on the timestep chooses among experts.

The experts stand beside each feed-forward part, which acts as the shared expert. Switch-DiT (arXiv
2403.09176) has the idea in another form: there a block's input is multiplied by 1 + sum_i g_i E_i,
with E_i one linear map, and a diffusion-prior loss on the router. Here an expert is a small
feed-forward part, and the router is balanced by the loss of Switch Transformers (arXiv 2101.03961,
eq. 4 to 6).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from cabench.models.activations import gelu_tanh
from cabench.models.conditioning.base import Convention, Method, VectorOptions
from cabench.models.embedding import Embedded
from cabench.models.init import parameter, tag
from cabench.models.operations import Branch, Conditioning, over_batch
from cabench.models.sites import BranchHook, Layout
from cabench.registry import METHODS


class TimestepMoEOptions(VectorOptions):
    """Options of `timestep_moe`."""

    source: str | list[str] = Field("timestep", description="what the router is conditioned on")
    experts: Annotated[int, Field(ge=2, le=256)] = Field(
        4, description="experts beside each feed-forward part"
    )
    top: Annotated[int, Field(ge=1, le=256)] = Field(2, description="experts per sample")
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="hidden width of an expert; default: a quarter of the feed-forward part's"
    )
    balance: Annotated[float, Field(ge=0)] = Field(
        0.01, description="weight of the load-balancing loss"
    )

    @model_validator(mode="after")
    def top_of_the_experts(self) -> TimestepMoEOptions:
        if self.top > self.experts:
            raise ValueError(f"top: expected at most {self.experts} experts, got {self.top}")
        return self


class Experts(nn.Module):
    """Weighted sum of the chosen experts: h (B, N, D), share and which (B, top) -> (B, N, D)."""

    def __init__(self, hook: BranchHook, width: int, options: TimestepMoEOptions):
        super().__init__()
        self.top = options.top
        hidden = options.hidden or max(1, hook.size // 4)
        self.router = tag(nn.Linear(width, options.experts), weight="lecun", bias="zeros")
        self.expand = parameter(options.experts, hidden, hook.width, init="xavier", stack=True)
        self.project = parameter(options.experts, hook.width, hidden, init="zeros")

    def forward(self, h: Tensor, share: Tensor, which: Tensor) -> Tensor:
        expand = self.expand[which].flatten(1, 2)  # (B, top * hidden, D)
        project = self.project[which] * share[:, :, None, None]
        project = project.transpose(1, 2).flatten(2)  # (B, D, top * hidden)
        return torch.bmm(gelu_tanh(torch.bmm(h, expand.mT)), project.mT)  # (B, N, D)


def imbalance(probabilities: Tensor, which: Tensor) -> Tensor:
    """E * sum_i f_i P_i, 1 for an even load (arXiv 2101.03961, eq. 4 to 6).

    From probabilities (B, E) and the chosen experts (B, top): P_i is the mean probability of expert
    i, f_i its share of the choices, both over the whole batch.
    """
    experts = probabilities.shape[1]
    chosen = which.unsqueeze(2) == torch.arange(experts, device=which.device)  # (B, top, E)
    load = over_batch(chosen.float().mean((0, 1)))  # (E,)
    return experts * (load * probabilities.mean(0)).sum()


@METHODS.register("timestep_moe")
class TimestepMoE(Method):
    """Experts beside each feed-forward part, chosen by the condition; zero at the start."""

    distinct = True
    Options = TimestepMoEOptions
    hooks = ("ffn",)
    convention = Convention(
        quantity="update of the feed-forward part",
        static="the feed-forward part; bias of the router",
        initial="experts' output 0; router N(0, 1/inputs)",
        published="Switch-DiT: linear experts that scale the block's input, a loss on the router",
    )

    def __init__(self, options: TimestepMoEOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        hooks = [h for h in layout.branches if h.hook == "ffn"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(Experts(h, width, options) for h in hooks)
        self.balance = options.balance

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        branches, routes = {}, []
        for address, layer in zip(self.addresses, self.layers, strict=True):
            assert isinstance(layer, Experts)
            probabilities = layer.router(c).softmax(1)  # (B, experts)
            share, which = torch.topk(probabilities, layer.top, dim=1)  # (B, top) each
            branches[address] = Branch(layer, (share, which))
            routes.append((probabilities, which))

        def penalty() -> Tensor:
            return self.balance * torch.stack([imbalance(p, w) for p, w in routes]).mean()

        return Conditioning(branches=branches, penalties=[penalty] if self.balance else [])
