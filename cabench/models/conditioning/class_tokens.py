"""Several tokens of its own for each class (MPDiT): a linear map per token instead of one copy."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Convention
from cabench.models.conditioning.tokens import Tokens, TokensOptions
from cabench.models.embedding import Embedded
from cabench.models.init import tag
from cabench.models.operations import Conditioning, ExtraTokens
from cabench.models.sites import Layout
from cabench.registry import METHODS


class ClassTokensOptions(TokensOptions):
    """Options of `class_tokens`."""

    count: Annotated[int, Field(ge=1, le=1024)] = Field(4, description="tokens of each stream")


@METHODS.register("class_tokens")
class ClassTokens(Tokens):
    """Token k of a stream is W_k c + p_k, with a learned position p_k.

    MPDiT has a table of tokens per class; through the shared embedding, a map per token gives every
    class tokens of its own.
    """

    version = 1
    Options = ClassTokensOptions
    convention = Convention(
        quantity="extra tokens",
        static="the token's learned position",
        initial="maps Xavier; positions N(0, 0.02^2)",
        published="a table of tokens per class",
    )

    def __init__(self, options: ClassTokensOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.fit = None
        self.maps = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    tag(nn.Linear(width, layout.width, bias=False), weight="xavier")
                    for _ in range(self.count)
                )
                for name in self.source
            }
        )

    def length(self, name: str) -> int:
        return self.count

    def forward(self, embedded: Embedded) -> Conditioning:
        extra = []
        for name in self.source:
            maps = self.maps[name]
            assert isinstance(maps, nn.ModuleList)
            each = [linear(embedded[name]).unsqueeze(1) for linear in maps]
            tokens = torch.cat(each, 1)  # (B, T, D)
            extra.append(ExtraTokens(tokens + self.positions[name], self.start))
        return Conditioning(tokens=extra)
