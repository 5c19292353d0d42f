"""The memory that training takes on each GPU, counted without computing anything.

Weights, gradients, averages and moments are float32: 20 bytes a parameter. Activations are the
tensors that autograd keeps from the forward to the backward pass, each storage once, at the shapes
and the precision of a step. What the backward pass needs for a moment, workspaces of libraries and
unused parts of the allocator's blocks are not counted: at micro torch's MemTracker counts 22 to
48 % more than these activations in float32, 11 to 32 % more in bfloat16 without recomputation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from cabench.cost.macs import inputs, streams_of
from cabench.diffusion.passes import Passes, blocks
from cabench.diffusion.training import autocast
from cabench.models.model import build
from cabench.records.spec import ModelSpec

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU at the end of a forward pass."""

    parameters: int  # their number
    activations: int

    @property
    def total(self) -> int:
        """With weights, gradients, averages, and AdamW's two moments."""
        return 5 * FLOAT * self.parameters + self.activations


def training_memory(
    spec: ModelSpec,
    images: int,  # of each GPU's part of the batch
    precision: str = "float32",
    passes: Passes = Passes(),  # noqa: B008  (frozen)
) -> Memory:
    """The memory of a training step of this model."""
    with FakeTensorMode():
        model = build(spec)
        x, t, *rest = inputs(spec, "cpu", min(images, passes.micro_batch or images))
        saved = Saved(model)
        hooks = [hook for block in blocks(model.backbone) for hook in saved.watch(block)]
        with autocast("cpu", precision), saved_tensors_hooks(saved.keep, lambda tensor: tensor):
            error = model(x, t, streams_of(spec, rest)).float().square().mean()
        del error
        for hook in hooks:
            hook.remove()
        parameters = sum(p.numel() for p in model.parameters())
    return Memory(parameters, saved.recomputed if passes.checkpointing else saved.total)


class Saved:
    """The bytes that autograd keeps in a forward pass, and those of each block."""

    def __init__(self, model: nn.Module):
        self.counted = {_storage(p) for p in model.parameters()}
        self.alive: list[Tensor] = []  # so that no storage takes the place of another
        self.outside, self.within = 0, [0]
        self.inputs = 0  # of blocks, which recomputation starts from
        self.in_block = False

    @property
    def total(self) -> int:
        return self.outside + self.inputs + sum(self.within)

    @property
    def recomputed(self) -> int:
        """With the activations of one block at a time."""
        return self.outside + self.inputs + max(self.within)

    def keep(self, tensor: Tensor) -> Tensor:
        """Counts a tensor that autograd saves."""
        size = self._new(tensor)
        if self.in_block:
            self.within[-1] += size
        else:
            self.outside += size
        return tensor

    def watch(self, block: nn.Module) -> Iterator[Any]:
        """Hooks that note when the block begins and ends."""

        def begin(module: nn.Module, arguments: tuple, named: dict[str, Any]) -> None:
            # what methods generated is there until the backward pass has used it
            self.inputs += sum(map(self._new, tensors_in((arguments, named))))
            self.within.append(0)
            self.in_block = True

        def end(module: nn.Module, arguments: tuple, output: Any) -> None:
            self.in_block = False

        yield block.register_forward_pre_hook(begin, with_kwargs=True)
        yield block.register_forward_hook(end)

    def _new(self, tensor: Tensor) -> int:
        """Bytes of the tensor's storage, 0 if it was counted before."""
        storage = _storage(tensor)
        if storage in self.counted:
            return 0
        self.counted.add(storage)
        self.alive.append(tensor)
        return tensor.untyped_storage().nbytes()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested containers and dataclasses, not those of modules."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        yield from tensors_in([getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, Iterable) and not isinstance(value, str | nn.Module):
        for each in value:
            yield from tensors_in(each)
