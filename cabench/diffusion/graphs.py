"""Training steps and sampled networks on a GPU, compiled by torch.compile.

Inductor fuses element-wise operations, and a CUDA graph launches all kernels of a pass at once:
launching a small network takes longer than running it. A graph writes its results to the same
memory at every call, so what is kept beyond the next call is copied.
"""

from __future__ import annotations

import functools
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cabench.diffusion.batches import Batch
from cabench.diffusion.compiled import Library
from cabench.diffusion.compiled_network import CompiledNetwork
from cabench.diffusion.losses import batch_loss
from cabench.errors import CabenchError, is_machine_fault
from cabench.models.cuda_forms import choose_cuda
from cabench.models.kernel_forms import is_composed, overridden_form
from cabench.models.kernels import has_autocast
from cabench.models.model import ConditionalModel
from cabench.models.operations import is_whole
from cabench.models.streams import Streams

VERSION = 1  # raise it whenever a compiled step or network would give other bits
OPTIONS: dict[str, Any] = {"mode": "reduce-overhead"}  # Inductor with CUDA graphs
# What these return is the same at every call for the same shapes, and is not traced
FIXED = (choose_cuda, overridden_form, has_autocast, is_composed, is_whole)
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


@functools.cache
def fault(device: str) -> str | None:
    """Why this machine cannot compile for a GPU, tried with a small network; None if it can.

    CabenchError where the GPU has no memory for that: compiled and other trials have different
    keys, and which of them a run has must not depend on what else the GPU does.
    """
    with ThreadPoolExecutor(1) as threads:  # Ray runs trials in threads; torch < 2.14 fails there
        error = threads.submit(_attempt, device).exception()
    if isinstance(error, torch.OutOfMemoryError) or (error and is_machine_fault(error)):
        raise CabenchError(f"--device: {device!r} cannot be used here: {_reason(error)}") from None
    return None if error is None else f"{type(error).__name__}: {_reason(error)}"


def _attempt(device: str) -> None:
    """Warms up, records and replays the graphs of a forward and a backward pass."""
    before = {variable: os.environ.get(variable) for variable in CACHES}
    layer = nn.Linear(8, 8, device=device)
    x = torch.ones(4, 8, device=device)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= dict.fromkeys(CACHES, folder)
        try:
            run = torch.compile(lambda x: layer(x).sin().sum(), fullgraph=True, **OPTIONS)
            for _ in range(3):
                torch.compiler.cudagraph_mark_step_begin()
                run(x).backward()
            torch.ones(1, device=device).item()  # waits for the GPU
        finally:
            _forget()
            for variable, value in before.items():
                if value is None:
                    del os.environ[variable]
                else:
                    os.environ[variable] = value


def _reason(error: BaseException) -> str:
    """The line of torch's message that names the fault; it follows `backend='inductor' raised:`."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("raised:")), type(error).__name__)


@contextmanager
def own_memory(cache: Path) -> Iterator[None]:
    """What is compiled inside is forgotten at the end, with its memory on the GPU.

    Code is kept in the cache, unless torch's variables name another place. Graphs belong to a
    thread, and only that thread frees them.
    """
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str((cache / "compiled" / name).absolute()))
    _forget()
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    torch.compiler.reset()
    gc.collect()


def compiled(function: Callable[..., Any], section: str) -> Callable[..., Any]:
    """The function, compiled at its first call for the shapes of that call.

    Its next call overwrites what it returns. `section` is that of the scale that asked for it.
    CabenchError if it cannot be compiled, or fails as a graph.
    """
    for decided in FIXED:
        torch.compiler.assume_constant_result(decided)
    run: Any = torch.compile(function, dynamic=False, fullgraph=True, **OPTIONS)

    def call(*inputs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return run(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of many types, torch's own among them
            if is_machine_fault(error):
                raise
            raise CabenchError(
                f"{section} fails when compiled: {_reason(error)}; set `compile: false` under "
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
