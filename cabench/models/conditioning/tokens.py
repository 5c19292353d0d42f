"""Condition tokens: DiT's in-context conditioning and U-ViT's native one (arXiv 2209.12152).

JiT (arXiv 2511.13720) has 32 tokens of the label (`count`) join before a middle block (`start`),
beside adaLN-Zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from cabench.models.conditioning.base import Convention, Method, MethodOptions
from cabench.models.embedding import TEXT_TOKENS, Embedded, sequence
from cabench.models.init import parameter, tag
from cabench.models.operations import Conditioning, ExtraTokens
from cabench.models.sites import Layout
from cabench.registry import METHODS


class TokensOptions(MethodOptions):
    """Options of `tokens`."""

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
    convention = Convention(
        quantity="extra tokens",
        static="the token's learned position",
        initial="positions N(0, 0.02^2)",
        published="U-ViT attends to the padding of a text, and its null text is an encoded ''",
    )

    @classmethod
    def refuses(cls, options: TokensOptions, layout: Layout) -> str | None:
        if options.start != "middle" and options.start >= layout.blocks:
            return f"start: expected a block from 0 to {layout.blocks - 1}, got {options.start}"
        return None

    def __init__(self, options: TokensOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.count = options.count
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
        """Number of tokens of a stream, at most."""
        return TEXT_TOKENS if name == "text" else self.count

    def forward(self, embedded: Embedded) -> Conditioning:
        extra = []
        for name in self.source:
            tokens, mask = sequence(embedded, [name])  # (B, 1 or L, width)
            if mask is not None:  # padding: only its position remains
                tokens = tokens * mask.unsqueeze(2)
            tokens = tokens if self.fit is None else self.fit(tokens)  # (B, 1 or L, D)
            positions = self.positions[name]  # (count or TEXT_TOKENS, D)
            if mask is not None:
                positions = positions[: tokens.shape[1]]
            extra.append(ExtraTokens(tokens + positions, self.start))  # (B, T, D)
        return Conditioning(tokens=extra)
