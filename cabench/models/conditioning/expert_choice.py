"""Experts that choose their tokens, by token and condition (expert choice, arXiv 2202.09368).

Each expert takes the tokens of an image that score highest, so the load is even without a loss.
The experts stand beside each feed-forward part, which acts as the shared expert. EC-DiT (arXiv
2410.02098) routes by the token alone and replaces feed-forward parts; Race-DiT (arXiv 2503.16057)
lets all pairs of token and expert of a batch compete.
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
from cabench.models.operations import Branch, Conditioning
from cabench.models.sites import BranchHook, Layout
from cabench.registry import METHODS


class ExpertChoiceOptions(VectorOptions):
    """Options of `expert_choice`."""

    experts: Annotated[int, Field(ge=2, le=256)] = Field(
        4, description="experts beside each feed-forward part"
    )
    capacity: Annotated[float, Field(gt=0, le=256)] = Field(
        2, description="experts per token, on average: an expert takes capacity / experts of them"
    )
    hidden: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="hidden width of an expert; default: a quarter of the feed-forward part's"
    )

    @model_validator(mode="after")
    def capacity_of_the_experts(self) -> ExpertChoiceOptions:
        if self.capacity > self.experts:
            raise ValueError(
                f"capacity: expected at most {self.experts}, the number of experts, got "
                f"{self.capacity:g}"
            )
        return self


class ChoosingExperts(nn.Module):
    """h (B, N, D), the condition's part of the scores (B, E) -> weighted sum (B, N, D).

    An expert's capacity is a number of tokens per image, so no image depends on its batch.
    """

    def __init__(self, hook: BranchHook, width: int, options: ExpertChoiceOptions):
        super().__init__()
        self.experts, self.capacity = options.experts, options.capacity
        hidden = options.hidden or max(1, hook.size // 4)
        self.router = tag(nn.Linear(hook.width, self.experts), weight="lecun", bias="zeros")
        self.condition = tag(nn.Linear(width, self.experts, bias=False), weight="lecun")
        self.expand = parameter(self.experts, hidden, hook.width, init="xavier", stack=True)
        self.project = parameter(self.experts, hook.width, hidden, init="zeros")

    def forward(self, h: Tensor, scores: Tensor) -> Tensor:
        b, n, d = h.shape
        # Tokens of an expert; the tracer of a MAC counter gives n as a tensor
        count = max(1, round(self.capacity * int(n) / self.experts))
        probabilities = (self.router(h) + scores.unsqueeze(1)).softmax(2)  # (B, N, E)
        share, which = torch.topk(probabilities.transpose(1, 2), count, dim=2)  # (B, E, count)
        rows = which.flatten(1).unsqueeze(2).expand(-1, -1, d)  # (B, E count, D)
        x = h.gather(1, rows).unflatten(1, (self.experts, count))  # (B, E, count, D)
        x = x.transpose(0, 1).flatten(1, 2)  # (E, B count, D)
        hidden = gelu_tanh(torch.bmm(x, self.expand.mT))  # (E, B count, hidden)
        y = torch.bmm(hidden, self.project.mT).unflatten(1, (b, count)).transpose(0, 1)
        y = (y * share.unsqueeze(3)).flatten(1, 2)  # (B, E count, D)
        return torch.zeros_like(h, dtype=y.dtype).scatter_add(1, rows, y)


@METHODS.register("expert_choice")
class ExpertChoice(Method):
    """Experts beside each feed-forward part; each takes the tokens that score highest for it.

    Scores are a softmax over the experts of V h_n + U c + b. Zero at the start.
    """

    version = 1
    Options = ExpertChoiceOptions
    distinct = True
    hooks = ("ffn",)
    published = {"sum_scale": "one"}
    convention = Convention(
        quantity="update of the feed-forward part",
        static="the feed-forward part; bias of the router",
        initial="experts' output 0; router N(0, 1/inputs)",
        published="EC-DiT: the router sees tokens only; experts replace feed-forward parts",
    )

    def __init__(self, options: ExpertChoiceOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        hooks = [h for h in layout.branches if h.hook == "ffn"]
        self.addresses = [h.address for h in hooks]
        self.layers = nn.ModuleList(ChoosingExperts(h, width, options) for h in hooks)

    def forward(self, embedded: Embedded) -> Conditioning:
        c = self.condition(embedded)  # (B, width)
        branches = {}
        for address, layer in zip(self.addresses, self.layers, strict=True):
            assert isinstance(layer, ChoosingExperts)
            branches[address] = Branch(layer, (layer.condition(c),))
        return Conditioning(branches=branches)
