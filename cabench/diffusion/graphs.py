"""Training steps and sampled networks on a GPU, compiled by torch.compile.

Inductor fuses element-wise operations, and a CUDA graph launches all kernels of a pass at once:
launching a small network takes longer than running it. A graph writes its results to the same
memory at every call, so what is kept beyond the next call is copied.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from cabench.diffusion.batches import Batch
from cabench.diffusion.compiled import Library
from cabench.diffusion.compiled_network import CompiledNetwork
from cabench.diffusion.losses import batch_loss
from cabench.errors import CabenchError, describe
from cabench.models.cuda_forms import choose_cuda
from cabench.models.kernel_forms import is_composed, overridden_form
from cabench.models.model import ConditionalModel
from cabench.models.operations import is_whole
from cabench.models.streams import Streams

VERSION = 1  # raise it whenever a compiled step or network would give other bits
OPTIONS: dict[str, Any] = {"mode": "reduce-overhead"}  # Inductor with CUDA graphs
# What these return depends on shapes and the environment alone, and is not traced
FIXED = (choose_cuda, overridden_form, is_composed, is_whole)
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


@functools.cache
def fault() -> str | None:
    """Why this machine cannot compile for its GPU, tried with a small function; None if it can."""
    try:
        x = torch.ones(8, device="cuda")
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
            os.environ.update(dict.fromkeys(CACHES, folder))
            with torch.no_grad():
                torch.compile(lambda x: x.sin() + 1, **OPTIONS)(x)
    except Exception as error:  # of many types: no Triton, no C compiler, an old GPU
        return describe(error)
    return None


def begin(cache: Path) -> None:
    """Forget what was compiled for an earlier network, with its memory on the GPU.

    Code is kept in the cache, unless torch's variables name another place.
    """
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str((cache / "compiled" / name).absolute()))
    torch.compiler.reset()


def compiled(function: Callable[..., Any], section: str) -> Callable[..., Any]:
    """The function, compiled at its first call for the shapes of that call.

    Its next call overwrites what it returns. `section` is that of the scale that asked for it.
    """
    from torch._dynamo.exc import TorchDynamoException

    for decided in FIXED:
        torch.compiler.assume_constant_result(decided)
    run: Any = torch.compile(function, dynamic=False, fullgraph=True, **OPTIONS)

    def call(*inputs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return run(*inputs)
        except TorchDynamoException as error:
            first = str(error).partition("\n")[0]
            raise CabenchError(
                f"{section} cannot be compiled: {first}; set `compile: false` under "
                f"`{section}` in the scale to run without compiling"
            ) from error

    return call


class CompiledObjective(nn.Module):
    """The loss of a whole batch and its error alone, as `passes.Objective` gives them."""

    def __init__(self, model: ConditionalModel):
        super().__init__()

        def loss(*parts: Any) -> tuple[Tensor, Tensor]:
            return batch_loss(model, Batch(*parts))

        self.loss = compiled(loss, "training")

    def forward(self, part: Batch, whole: Batch, penalised: bool) -> tuple[Tensor, Tensor]:
        assert part is whole and penalised, "a compiled step takes its batch in one pass"
        loss, error = self.loss(part.noised, part.target, part.times, part.drop, part.streams)
        return loss, error.detach().clone()  # the curve's points are means over many steps


class GraphedNetwork(CompiledNetwork):
    """A network on a GPU as `CompiledNetwork` calls it, compiled anew by each process."""

    def _library(self, streams: Streams, inputs: list[Tensor], drops: bool) -> Library:
        def forward(*arguments: Any) -> Tensor:
            return self.model(*arguments)

        predict = compiled(forward, "sampling")

        def run(tensors: list[Tensor]) -> list[Tensor]:
            arguments = self.arguments(tensors[len(self.parameters) :], streams, drops)
            return [predict(*arguments).clone()]

        return run
