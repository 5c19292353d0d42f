"""What a method passes to the backbone: operations on weights, modulations, tokens, branches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn


class Operation:
    """What a method does at one site for one batch. Several operations at a site add up.

    With `index` (B,), `weight` returns the weights of K conditions, and sample i has index[i]'s.
    """

    index: Tensor | None = None

    def weight(self, static: Tensor) -> Tensor | None:
        """The weight (B, *static) to add to the layer's static one, or None."""
        return None

    def output(self, x: Tensor, layer: nn.Module) -> Tensor | None:
        """What to add to the layer's output for input x, or None."""
        return None

    def dense(self, static: Tensor) -> Tensor | None:
        """The whole change of the weight, (B, *static), for diagnostics; None if there is none."""
        return self.weight(static)

    def take(self, index: Tensor) -> Operation:
        """The operation for the conditions at `index`. Needed if the method sets `distinct`."""
        raise TypeError(f"{type(self).__name__} has no `take`, but its method sets `distinct`")


@dataclass(frozen=True)
class DenseDelta(Operation):
    """keep * W + W_c: a generated weight per sample, added to the static one (CAN, section 3)."""

    # fmt: off
    delta: Tensor                   # W_c: (K, *static), or (1, *static), the same for all samples
    keep: Tensor | None = None      # (K,): the factor of W; None: 1
    index: Tensor | None = None     # (B,): each sample's condition; None: K = B
    # fmt: on

    def weight(self, static: Tensor) -> Tensor:
        if self.keep is None:
            return self.delta
        factors = (self.keep - 1).view(-1, *(1,) * static.dim())
        return torch.addcmul(self.delta, factors, static)

    def take(self, index: Tensor) -> DenseDelta:
        """With the index: the static weight is added to K weights instead of B."""
        shared = len(self.delta) == 1 and (self.keep is None or len(self.keep) == 1)
        return self if shared else replace(self, index=index)


@dataclass(frozen=True)
class LowRank(Operation):
    """W + up diag(scale) down at a linear site, without building the product: x down^T scale up^T.

    Source: LoRA conditioning (arXiv 2405.03958).
    """

    # fmt: off
    down: Tensor                    # (rank, inputs), or (B, rank, inputs)
    up: Tensor                      # (outputs, rank), or (B, outputs, rank)
    scale: Tensor | None = None     # (B, rank); None: 1
    # fmt: on

    def output(self, x: Tensor, layer: nn.Module) -> Tensor:
        h = x @ self.down.mT  # (B, N, rank)
        if self.scale is not None:
            h = h * self.scale.unsqueeze(1)
        return h @ self.up.mT  # (B, N, outputs)

    def dense(self, static: Tensor) -> Tensor:
        up = self.up if self.scale is None else self.up * self.scale.unsqueeze(1)
        return up @ self.down

    def take(self, index: Tensor) -> LowRank:
        down, up = (m[index] if m.dim() == 3 else m for m in (self.down, self.up))
        return LowRank(down, up, None if self.scale is None else self.scale[index])


@dataclass(frozen=True)
class Addition(Operation):
    """Adds tokens of the condition to a layer's output."""

    tokens: Tensor  # (B, N, outputs)

    def output(self, x: Tensor, layer: nn.Module) -> Tensor:
        return self.tokens

    def take(self, index: Tensor) -> Addition:
        return Addition(self.tokens[index])


@dataclass(frozen=True)
class Modulation:
    """For a normalised feature h (B, N, D): h * (1 + scale) + shift."""

    # fmt: off
    shift: Tensor               # (B, D), or (B, N, D): one per token
    scale: Tensor               # the same shape
    gate: Tensor | None = None  # the same: multiplies the residual branch that starts at this norm
    # fmt: on

    def take(self, index: Tensor) -> Modulation:
        gate = None if self.gate is None else self.gate[index]
        return Modulation(self.shift[index], self.scale[index], gate)


@dataclass(frozen=True)
class ExtraTokens:
    """Tokens that join the sequence before block `start` and leave it before the head."""

    values: Tensor  # (B, T, D), or (1, T, D), the same for all samples
    start: int = 0

    def take(self, index: Tensor) -> ExtraTokens:
        same_for_all = len(self.values) == 1
        return ExtraTokens(self.values if same_for_all else self.values[index], self.start)


@dataclass  # not frozen: torch 2.11 can't trace that with a module in a field
class Branch:
    """What a method computes from the features at a hook: module(*features, *inputs).

    At `context` and `ffn` it maps x (B, N, D) to the update of x; at a norm it maps the normalised
    feature to its Modulation; at `joint`, see `sites.JointAttention`.
    """

    module: Callable[..., Any]
    inputs: tuple[Tensor | None, ...]  # of the condition: (B, ...) each, or None

    def __call__(self, *features: Tensor | None) -> Any:
        return self.module(*features, *self.inputs)

    def take(self, index: Tensor) -> Branch:
        return Branch(self.module, tuple(t if t is None else t[index] for t in self.inputs))


@dataclass
class Conditioning:
    """Everything that the methods pass to the backbone for one batch, by the layer's address."""

    operations: dict[str, list[Operation]] = field(default_factory=dict)
    modulation: dict[str, Modulation | Branch] = field(default_factory=dict)
    tokens: list[ExtraTokens] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)
    penalties: list[Callable[[], Tensor]] = field(default_factory=list)  # of the loss, in training

    def update(self, other: Conditioning) -> None:
        """Adds what another method returned."""
        for address, operations in other.operations.items():
            self.operations.setdefault(address, []).extend(operations)
        self.modulation.update(other.modulation)
        self.tokens.extend(other.tokens)
        self.branches.update(other.branches)
        self.penalties.extend(other.penalties)

    def take(self, index: Tensor) -> Conditioning:
        """From K distinct conditions to B samples, where sample i has condition index[i]."""
        taken: dict[int, Operation] = {}  # one operation may serve many layers

        def take(operation: Operation) -> Operation:
            if id(operation) not in taken:
                taken[id(operation)] = operation.take(index)
            return taken[id(operation)]

        return Conditioning(
            {a: [take(o) for o in operations] for a, operations in self.operations.items()},
            {a: m.take(index) for a, m in self.modulation.items()},
            [t.take(index) for t in self.tokens],
            {a: b.take(index) for a, b in self.branches.items()},
        )

    def join(self, x: Tensor, block: int) -> Tensor:
        """x (B, N, D) with the tokens that join before `block` put in front: (B, T + N, D)."""
        starting = [extra.values for extra in self.tokens if extra.start == block]
        joining = [values.expand(len(x), -1, -1) for values in starting]
        return torch.cat([*joining, x], 1) if joining else x


# ---- means over a batch that several processes share ---------------------------------------------

_reduce: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("reduce", default=None)


def over_batch(mean: Tensor) -> Tensor:
    """The mean over the whole batch of a quantity without gradient, from that over this process's.

    For penalties that are not means over samples, such as those of an uneven load.
    """
    if is_whole():
        return mean
    reduce = _reduce.get()
    assert reduce is not None
    return reduce(mean)


def is_whole() -> bool:
    """Does this process hold the whole batch?"""
    return _reduce.get() is None


@contextlib.contextmanager
def reduced_by(reduce: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, `over_batch` calls `reduce`."""
    token = _reduce.set(reduce)
    try:
        yield
    finally:
        _reduce.reset(token)
