"""What a conditioning method is: options, what it needs of a backbone, and a forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cabench.models.sites import Given, Layout
from cabench.registry import METHODS, missing


class MethodOptions(BaseModel):
    """Options common to all methods, as written in a study."""

    model_config = ConfigDict(extra="forbid")
    source: str | list[str] = Field(
        "both",
        description="streams it is told: both (timestep + label; text or the study's first stream "
        "where it needs no label), a stream, or a list",
    )

    def set_size(self, by: str, size: int) -> bool:
        """Takes `size` as the size named `by` (as in an arm's `match`); False if it has none."""
        return False

    def narrow(self, rank: int) -> bool:
        """Takes `rank` where a generator has none (a scale's `bottleneck`); False if none has."""
        return False

    def problem(self) -> str | None:
        """What is still missing once sizes are matched, or None."""
        return None


class Method(nn.Module):
    """One way to inject the condition.

    __init__(options, layout, width): `options` are checked, with `source` a tuple of streams;
    `layout` lists the backbone's sites and hooks; `width` is that of the condition embedding.
    forward({stream: (B, width)}) -> Given.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    hooks: ClassVar[tuple[str, ...]] = ()  # hooks it occupies, of models.sites.HOOKS
    distinct: ClassVar[bool] = False  # its Given has `take`: made once for equal conditions
    gated: ClassVar[bool] = False  # a norm modulator that brings gates
    replaces_affine: ClassVar[bool] = True  # a norm modulator in the place of a learned affine
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    @classmethod
    def sites(cls, options: MethodOptions, offered: tuple[str, ...]) -> tuple[str, ...]:
        """Kinds of site it acts on, given the kinds the backbone offers."""
        return ()

    @classmethod
    def refuses(cls, options: MethodOptions, layout: Layout) -> str | None:
        """Why it can't act on this backbone with these options, or None."""
        return None

    def __init__(self, options: MethodOptions, layout: Layout, width: int):
        super().__init__()

    def forward(self, embedded: Mapping[str, Tensor]) -> Given:
        raise TypeError(f"method '{self.name}' has no forward pass")


def contract(entry: Any) -> str | None:
    """What is wrong with a registered method, or None."""
    if not inspect.isclass(entry) or not issubclass(entry, Method):
        return "expected a subclass of Method"
    if not inspect.isclass(entry.Options) or not issubclass(entry.Options, MethodOptions):
        return "Options: expected a subclass of MethodOptions"
    return missing(entry, ("version",))


METHODS.contract = contract
