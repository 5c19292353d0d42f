"""The gradients of several networks of one architecture, compiled to one library.

The networks are those of an arm's seeds. Their parameters are rows of one matrix; the function is
traced once, vectorised over the rows (torch.func.vmap), and compiled ahead of time by torch's
Inductor. A row's gradient has the same bits in a stack of any size. The library stays in the cache,
so that later runs load it in milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from cabench.diffusion.batches import Batch
from cabench.models.kernels import composed
from cabench.models.model import ConditionalModel
from cabench.records.spec import ModelSpec
from cabench.runtime.files import content_key
from cabench.runtime.sealed import cached_file

VERSION = 1  # raise it whenever the compiled step would give other bits
ALIGNED = 16  # floats; each parameter starts at a multiple, so that loads are aligned

Gradient = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]  # rows -> gradients (S, P), losses (S,)


def compiler() -> str | None:
    """The C++ compiler that Inductor would use, or None."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return shutil.which(name)


@dataclasses.dataclass(frozen=True)
class Slice:
    """The part of a row that holds one parameter."""

    name: str
    start: int
    size: int
    shape: torch.Size

    def of(self, rows: Tensor) -> Tensor:
        """The parameter of every row: rows (S, P) -> (S, *shape), a view."""
        return rows[:, self.start : self.start + self.size].unflatten(1, self.shape)


class FlatLayout:
    """How the parameters of a network fill a row of P floats."""

    def __init__(self, model: nn.Module):
        self.slices: list[Slice] = []
        end = 0
        for name, p in model.named_parameters():
            self.slices.append(Slice(name, end, p.numel(), p.shape))
            end += math.ceil(p.numel() / ALIGNED) * ALIGNED
        self.width = end

    def row(self, gradients: list[Tensor]) -> Tensor:
        """Gradients (S, *shape) of all parameters -> (S, P), zero between the parameters."""
        columns = []
        for part, gradient in zip(self.slices, gradients, strict=True):
            columns.append(gradient.flatten(1))
            if gap := -part.size % ALIGNED:
                columns.append(gradient.new_zeros(len(gradient), gap))
        return torch.cat(columns, 1)


def gradient(model: ConditionalModel, spec: ModelSpec, batch: Batch, cache: Path) -> Gradient:
    """The compiled gradient for stacked batches of this shape, from the cache or compiled now.

    Compiling takes about a minute. Stacks of different sizes have libraries of their own.
    """
    shapes = [[str(t.dtype), *t.shape] for t in batch.tensors()]
    key = content_key("compiled", [spec.dump(), shapes, VERSION, sources(), *machine()])
    path = cached_file(cache / "compiled" / f"{key}.pt2", lambda path: _compile(model, batch, path))
    package = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)

    def run(rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        gradients, losses = package(rows, *batch.tensors())
        return gradients, losses

    return run


def traced(model: ConditionalModel, batch: Batch) -> Callable[..., tuple[Tensor, Tensor]]:
    """The function that is compiled: rows (S, P) and a stacked batch's tensors -> the same."""
    layout = FlatLayout(model)
    names = [part.name for part in layout.slices]

    def loss(parameters: list[Tensor], *tensors: Tensor) -> tuple[Tensor, Tensor]:
        one, penalties = batch.like(tensors), list[Tensor]()
        inputs = (one.noised, one.times, one.streams, one.drop)
        predicted = functional_call(
            model, dict(zip(names, parameters, strict=True)), inputs, {"penalties": penalties}
        )
        error = (predicted - one.target).square().mean()  # of (B, C, H, W)
        return sum(penalties, error), error

    gradients_of = vmap(grad_and_value(loss, has_aux=True))

    def run(rows: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        gradients, (_, losses) = gradients_of([p.of(rows) for p in layout.slices], *tensors)
        return layout.row(gradients), losses

    return run


def _compile(model: ConditionalModel, batch: Batch, path: Path) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    tensors = batch.tensors()
    rows = torch.zeros(len(tensors[0]), FlatLayout(model).width)
    with composed(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = make_fx(traced(model, batch))(rows, *tensors)
        program = torch.export.export(graph, (rows, *tensors))
        package = Path(folder) / "gradient.pt2"
        torch._inductor.aoti_compile_and_package(program, package_path=str(package))
        shutil.copyfile(package, path)


@functools.cache
def sources() -> str:
    """A hash of the code that is traced."""
    package = Path(__file__).parents[1]
    files = [*sorted(package.glob("models/**/*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def machine() -> list[str]:
    """What a library is compiled for."""
    return [torch.__version__, sys.platform, torch.backends.cpu.get_cpu_capability()]
