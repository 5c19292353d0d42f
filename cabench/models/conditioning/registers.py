"""Learned tokens that depend on no condition (AuraFlow has 8): a control for `tokens`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cabench.models.conditioning.base import Convention, Method, MethodOptions
from cabench.models.embedding import Embedded
from cabench.models.init import parameter
from cabench.models.operations import Conditioning, ExtraTokens
from cabench.models.sites import Layout
from cabench.registry import METHODS


class RegistersOptions(MethodOptions):
    """Options of `registers`."""

    takes_source = False
    source: Literal["none"] = Field("none", description="it is conditioned on nothing")
    count: Annotated[int, Field(ge=1, le=1024)] = Field(8, description="tokens")

    @property
    def streams(self) -> tuple[str, ...]:
        return ()


@METHODS.register("registers")
class Registers(Method):
    """The same learned tokens join every sequence before the first block."""

    version = 1
    distinct = True
    Options = RegistersOptions
    hooks = ("tokens",)
    convention = Convention(
        quantity="extra tokens",
        static="the tokens themselves",
        initial="N(0, 0.02^2)",
        published="",
    )

    def __init__(self, options: RegistersOptions, layout: Layout, width: int):
        super().__init__(options, layout, width)
        self.tokens = parameter(options.count, layout.width, init="trunc02")

    def forward(self, embedded: Embedded) -> Conditioning:
        return Conditioning(tokens=[ExtraTokens(self.tokens.unsqueeze(0))])
