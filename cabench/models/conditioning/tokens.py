"""Condition tokens: DiT's in-context conditioning, and U-ViT's native way (arXiv 2209.12152).

JiT (arXiv 2511.13720) has 32 tokens of the label (`count`) join before a middle block (`start`),
beside adaLN-Zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Method, MethodOptions
from cabench.models.embedding import TEXT_TOKENS, sequence
from cabench.models.init import parameter, tag
from cabench.models.sites import ExtraTokens, Given
from cabench.registry import METHODS


class TokensOptions(MethodOptions):
    count: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="tokens of each stream")
    start: Annotated[int, Field(ge=0)] | Literal["middle"] = Field(
        0, description="the block before which they join"
    )


@METHODS.register("tokens")
class Tokens(Method):
    """The condition as extra tokens of the sequence, each with a learned position."""

    distinct = True
    Options = TokensOptions
    hooks = ("tokens",)

    @classmethod
    def refuses(cls, options, layout):
        if options.start != "middle" and options.start >= layout.blocks:
            return f"start: found {options.start}; the backbone has blocks 0 to {layout.blocks - 1}"
        return None

    def __init__(self, options, layout, width):
        super().__init__(options, layout, width)
        self.source, self.count = options.source, options.count
        self.start = layout.blocks // 2 if options.start == "middle" else options.start
        self.positions = nn.ParameterDict(
            {
                name: parameter(self.length(name), layout.width, init="trunc02")
                for name in self.source
            }
        )
        self.fit = None
        if width != layout.width:
            self.fit = tag(nn.Linear(width, layout.width), weight="xavier", bias="zeros")

    def length(self, name: str) -> int:
        return TEXT_TOKENS if name == "text" else self.count

    def forward(self, embedded) -> Given:
        tokens = []
        for name in self.source:
            found, mask = sequence(embedded, [name])  # (B, 1 or L, width)
            if mask is not None:  # padding has a position and nothing else
                found = found * mask.unsqueeze(2)
            found = found if self.fit is None else self.fit(found)
            places = self.positions[name]
            tokens.append(found + (places[: found.shape[1]] if mask is not None else places))
        return Given(tokens=[ExtraTokens(t, self.start) for t in tokens])
