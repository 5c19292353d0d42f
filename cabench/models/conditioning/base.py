"""What a conditioning method is: options, the sites and hooks it needs, and a forward pass."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cabench.models.embedding import Embedded, total
from cabench.models.operations import Conditioning
from cabench.models.sites import Layout
from cabench.registry import METHODS, missing


class MethodOptions(BaseModel):
    """Options that all methods have, as written in a study."""

    model_config = ConfigDict(extra="forbid")
    takes_source: ClassVar[bool] = True  # False: it is conditioned on nothing
    takes_maps: ClassVar[bool] = False  # True: its source is maps, and nothing else
    source: str | list[str] = Field(
        "both",
        description="streams it is conditioned on: both (timestep + label; where the study needs "
        "no label, timestep + text, or its first stream), a stream, or a list",
    )

    @property
    def streams(self) -> tuple[str, ...]:
        """The source as a tuple of streams."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)

    def set_size(self, by: str, size: int) -> bool:
        """Sets the free size named `by` (in an arm's `match`); False if there is no such size."""
        return False

    def narrow(self, rank: int) -> bool:
        """Gives a full generator a bottleneck of this rank; False if there is none to narrow."""
        return False

    def problem(self) -> str | None:
        """What is missing once sizes are matched, or None."""
        return None


class VectorOptions(MethodOptions):
    """Options of methods that are conditioned on one vector: how their source becomes it."""

    activation: Literal["silu", "none"] = Field(
        "silu", description="applied to the condition before the method's own map"
    )
    sum_scale: Literal["sqrt", "one"] = Field(
        "sqrt", description="sqrt: the sum of k streams is divided by sqrt(k); one: it is not"
    )


@dataclass(frozen=True)
class Convention:
    """How a method treats the condition, beyond its options, for the table of conventions."""

    # fmt: off
    quantity: str       # what it modulates or generates
    static: str         # the one term of that which depends on no condition
    initial: str        # initial values
    published: str      # how its publication differs, where no option says so
    condition: str = "" # what becomes of the condition, where the options do not say it
    # fmt: on


class Method(nn.Module):
    """One way to inject the condition. A subclass registers with METHODS.register(name).

    `options` are validated and their source is resolved; `layout` lists the backbone's sites and
    hooks; `width` is the number of channels of the embedding. `forward` maps the embedded condition
    {stream: (B, width)} to a Conditioning.
    """

    # fmt: off
    name: ClassVar[str]
    version: ClassVar[int] = 1                  # raise it when the same options give other numbers
    hooks: ClassVar[tuple[str, ...]] = ()       # hooks it occupies, from models.sites.HOOKS
    distinct: ClassVar[bool] = False            # its Conditioning has `take`: it runs once per
                                                # distinct condition instead of once per sample
    compiles: ClassVar[bool] = False            # of a plugin: torch.func.vmap can trace it
    gated: ClassVar[bool] = False               # a norm modulator with gates
    replaces_affine: ClassVar[bool] = True      # a norm modulator that replaces the learned affine
    Options: ClassVar[type[MethodOptions]] = MethodOptions
    published: ClassVar[Mapping[str, Any]] = {} # options of the profile `as_published` that differ
    convention: ClassVar[Convention | None] = None
    # fmt: on

    @classmethod
    def sites(cls, options: MethodOptions, offered: tuple[str, ...]) -> tuple[str, ...]:
        """The kinds of site it acts on, out of those that the backbone offers."""
        return ()

    @classmethod
    def refuses(cls, options: MethodOptions, layout: Layout) -> str | None:
        """Why it cannot act on this backbone with these options, or None."""
        return None

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__()
        self.source = options.streams
        # What becomes of a source of several streams; see `condition`
        self.activation = getattr(options, "activation", "none")
        root = getattr(options, "sum_scale", "one") == "sqrt"
        self.divisor = math.sqrt(len(self.source)) if root else 1.0

    def condition(self, embedded: Embedded, streams: Iterable[str] | None = None) -> Tensor:
        """The vector that the method's maps take, (B, width).

        It is the sum of the source's streams, divided by the square root of their number, then the
        activation. `streams` limits the sum to a part of the source; the divisor stays.
        """
        c = self.summed(embedded, streams)
        return F.silu(c) if self.activation == "silu" else c

    def summed(self, embedded: Embedded, streams: Iterable[str] | None = None) -> Tensor:
        """`condition` before the activation, (B, width)."""
        c = total(embedded[name] for name in streams or self.source)
        return c if self.divisor == 1 else c / self.divisor

    def forward(self, embedded: Embedded) -> Conditioning:
        raise TypeError(f"method '{self.name}' has no forward pass")


def contract(entry: Any) -> str | None:
    """What is wrong with a registered method, or None."""
    if not inspect.isclass(entry) or not issubclass(entry, Method):
        return "expected a subclass of Method"
    if not inspect.isclass(entry.Options) or not issubclass(entry.Options, MethodOptions):
        return "Options: expected a subclass of MethodOptions"
    return missing(entry, ("version",))


METHODS.contract = contract
