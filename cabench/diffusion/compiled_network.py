"""A network whose forward pass is compiled, for sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from cabench.diffusion.compiled import Library, compile_function, library
from cabench.models.embedding import Cache
from cabench.models.model import ConditionalModel
from cabench.models.streams import Streams, each, tensors_of
from cabench.records.spec import ModelSpec

VERSION = 1  # raise it whenever the compiled network would give other bits


class CompiledNetwork:
    """Draws n samples in batches; called as a ConditionalModel is called to sample, with `index`.

    Shapes are fixed in a library, which takes about half a minute to compile. So the last batch is
    filled up (with guidance, both of its copies), and the K conditions to a power of two.
    """

    def __init__(self, model: ConditionalModel, spec: ModelSpec, n: int, batch: int, cache: Path):
        self.model, self.spec, self.directory = model, spec, cache
        self.batch = min(n, batch)
        self.unguided = {self.batch, n % self.batch}  # rows of a call without guidance
        self.parameters = [p.detach() for p in model.parameters()]
        self.libraries: dict[tuple[Any, ...], Library] = {}

    def __call__(
        self,
        x: Tensor,  # (B, C, H, W)
        t: Tensor,  # (K,)
        streams: Streams,  # of K rows
        drop: Tensor | None,  # (K,) bool
        index: Tensor,  # (B,): each sample's condition
        cache: Cache | None = None,  # not used: all conditions are computed again
    ) -> Tensor:
        samples = self.batch if len(x) in self.unguided else 2 * self.batch
        conditions = max(len(t), min(samples, 1 << (len(t) - 1).bit_length()))
        inputs = [
            _filled(x, samples),
            _filled(index, samples),
            _filled(t, conditions),
            *([] if drop is None else [_filled(drop, conditions)]),
        ]
        streams = each(streams, lambda values: _filled(values, conditions))
        inputs += tensors_of(streams)
        shape = tuple(tensor.shape for tensor in inputs), drop is not None
        if shape not in self.libraries:
            self.libraries[shape] = self._library(streams, inputs, drop is not None)
        (predicted,) = self.libraries[shape]([*self.parameters, *inputs])
        return predicted[: len(x)]

    def _library(self, streams: Streams, inputs: list[Tensor], drops: bool) -> Library:
        function = self.traced(streams, drops)

        def compile_to(path: Path) -> None:
            with torch.no_grad():
                every = (*self.parameters, *inputs)
                compile_function(function, every, path, "the network", section="sampling")

        shapes = [[str(tensor.dtype), *tensor.shape] for tensor in inputs]
        parts = ["network", self.spec.dump(), list(streams), shapes, VERSION]
        return library(parts, self.directory, compile_to)

    def traced(self, streams: Streams, drops: bool) -> Callable[..., tuple[Tensor]]:
        """The function that is compiled, of all parameters and of what `__call__` passes."""
        names = [name for name, _ in self.model.named_parameters()]

        def run(*tensors: Tensor) -> tuple[Tensor]:
            values = dict(zip(names, tensors, strict=False))
            arguments = self.arguments(tensors[len(names) :], streams, drops)
            return (functional_call(self.model, values, arguments),)

        return run

    @staticmethod
    def arguments(inputs: Sequence[Tensor], streams: Streams, drops: bool) -> tuple[Any, ...]:
        """The model's arguments x, t, streams, drop and index from the tensors of a call."""
        x, index, t, *rest = inputs
        drop = rest.pop(0) if drops else None
        others = iter(rest)
        return x, t, each(streams, lambda _: next(others)), drop, index


def _filled(tensor: Tensor, rows: int) -> Tensor:
    """The tensor with copies of its first row after its own."""
    missing = rows - len(tensor)
    return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])])
