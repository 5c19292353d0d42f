"""The gradients of several networks of one architecture, compiled to one library.

The networks are those of an arm's seeds. The function is traced once, vectorised over the networks
(torch.func.vmap), and compiled ahead of time by torch's Inductor. A network's gradient has the same
bits in a stack of any size. The library stays in the cache, so that later runs load it in
milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import sympy
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from cabench.diffusion.batches import Batch
from cabench.diffusion.losses import batch_loss
from cabench.errors import CabenchError, describe
from cabench.models.kernel_forms import composed
from cabench.models.model import ConditionalModel
from cabench.records.spec import ModelSpec
from cabench.runtime.files import content_key
from cabench.runtime.sealed import cached_file

VERSION = 2  # raise it whenever the compiled step would give other bits
ALIGNED = 16  # floats; each network's parameter starts at a multiple, so that loads are aligned

OPTIONS = {
    "aot_inductor.package": True,
    # The code between kernels: optimising it takes longer than all else in the compiler
    "aot_inductor.compile_wrapper_opt_level": "O0",
}

# Parameters (S, *shape) and a stacked batch -> gradients (S, *shape), losses (S,)
Gradient = Callable[[list[Tensor], Batch], tuple[list[Tensor], Tensor]]
Library = Callable[[list[Tensor]], list[Tensor]]  # a compiled function of tensors


@functools.cache
def compiler() -> str | None:
    """The C++ compiler that Inductor would use; None if it is absent or lacks OpenMP."""
    name = shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
    if name is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "program.cpp"
        source.write_text("#include <omp.h>\n#include <vector>\nint main() { return 0; }\n")
        command = [name, "-fopenmp", str(source), "-o", str(source.with_suffix(".out"))]
        done = subprocess.run(command, capture_output=True, check=False)
    return name if done.returncode == 0 else None


@dataclasses.dataclass(frozen=True)
class Slice:
    """The part of a vector that holds one parameter of S networks."""

    start: int
    width: int  # of a row
    shape: torch.Size

    def rows(self, vector: Tensor, count: int) -> Tensor:
        """A row per network, zero after the parameter: (S, width), a view."""
        return vector[self.start : self.start + count * self.width].view(count, self.width)


class FlatLayout:
    """How the parameters of S networks fill a vector: S rows of each parameter in turn.

    Where a row lies depends on no other network, so that a gradient's bits do not, either.
    """

    def __init__(self, model: nn.Module, count: int):
        self.count, self.slices = count, list[Slice]()
        self.size = 0
        for p in model.parameters():
            width = math.ceil(p.numel() / ALIGNED) * ALIGNED
            self.slices.append(Slice(self.size, width, p.shape))
            self.size += count * width

    def rows(self, vector: Tensor) -> list[Tensor]:
        """The rows (S, width) of each parameter, views."""
        return [part.rows(vector, self.count) for part in self.slices]

    def parameters(self, vector: Tensor) -> list[Tensor]:
        """Each parameter (S, *shape), views."""
        rows = zip(self.rows(vector), self.slices, strict=True)
        return [row[:, : part.shape.numel()].unflatten(1, part.shape) for row, part in rows]

    def padded(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients (S, *shape) as rows (S, width); copies only where there is a gap to fill."""
        rows = zip((g.flatten(1) for g in gradients), self.slices, strict=True)
        return [
            F.pad(row, (0, gap)) if (gap := part.width - row.shape[1]) else row
            for row, part in rows
        ]


def gradient(model: ConditionalModel, spec: ModelSpec, batch: Batch, cache: Path) -> Gradient:
    """The compiled gradient for stacked batches of this shape, from the cache or compiled now.

    Compiling takes about a minute. Stacks of different sizes have libraries of their own.
    """
    shapes = [[str(t.dtype), *t.shape] for t in batch.tensors()]
    compiled = library(
        [spec.dump(), shapes, VERSION], cache, lambda path: _compile(model, batch, path)
    )

    def run(parameters: list[Tensor], batch: Batch) -> tuple[list[Tensor], Tensor]:
        *gradients, losses = compiled([*parameters, *batch.tensors()])
        return gradients, losses

    return run


def library(parts: list[Any], cache: Path, compile_to: Callable[[Path], None]) -> Library:
    """The library of a function that `parts` describe, from the cache or compiled now."""
    # It warns where CUDA's compiler is present and no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    key = content_key("compiled", [*parts, sources(), *machine()])
    path = cached_file(cache / "compiled" / f"{key}.pt2", compile_to)
    return torch._inductor.aoti_load_package(str(path), run_single_threaded=True).loader.run


def traced(model: ConditionalModel, batch: Batch) -> Callable[..., tuple[Tensor, ...]]:
    """The function that is compiled, of all parameters (S, *shape) and a stacked batch's tensors.

    It returns the gradients (S, *shape) and the losses (S,).
    """
    names = [name for name, _ in model.named_parameters()]

    def loss(parameters: list[Tensor], *tensors: Tensor) -> tuple[Tensor, Tensor]:
        values = dict(zip(names, parameters, strict=True))

        def call(*inputs: Any, **options: Any) -> Tensor:
            return functional_call(model, values, inputs, options)

        return batch_loss(call, batch.like(tensors))

    gradients_of = vmap(grad_and_value(loss, has_aux=True))

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        parameters, tensors = list(inputs[: len(names)]), inputs[len(names) :]
        gradients, (_, losses) = gradients_of(parameters, *tensors)
        return *gradients, losses

    return run


def _compile(model: ConditionalModel, batch: Batch, path: Path) -> None:
    tensors = batch.tensors()
    layout = FlatLayout(model, len(tensors[0]))
    inputs = (*layout.parameters(torch.zeros(layout.size)), *tensors)
    compile_function(traced(model, batch), inputs, path, "the training step", "training")


def compile_function(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    path: Path,
    what: str,  # for the message of a failure
    section: str,  # of the scale
) -> None:
    """Traces the function at these inputs, and compiles the graph to a library.

    torch._inductor.aot_compile takes the graph as it is; the public aoti_compile_and_package takes
    one that torch.export traced once more.
    """
    from torch._inductor.package.package import package_aoti
    from torch.fx.experimental.proxy_tensor import make_fx

    with composed(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = make_fx(function)(*inputs)
        for node in graph.graph.nodes:
            node.meta.clear()  # each value has a mode of fake tensors of its own, which do not mix
        try:
            with _quick_simplify():
                files: Any = torch._inductor.aot_compile(graph, inputs, options=OPTIONS)
        except Exception as error:  # of many types
            raise CabenchError(
                f"{what} cannot be compiled: {describe(error)}; set `compile: false` under "
                f"`{section}` in the scale to run without compiling"
            ) from error
        package = Path(folder) / "library.pt2"
        package_aoti(str(package), files)
        shutil.copyfile(package, path)


@contextmanager
def _quick_simplify() -> Iterator[None]:
    """Within it, sympy simplifies polynomials by expanding them.

    Inductor simplifies some thousand index expressions, nearly all linear. sympy.simplify tries
    many rules on each; that takes half of the time of compiling.
    """
    simplify = sympy.simplify

    @functools.cache
    def quick(expression: sympy.Basic) -> sympy.Basic:
        polynomial = isinstance(expression, sympy.Expr) and expression.is_polynomial()
        return sympy.expand(expression) if polynomial else simplify(expression)

    with mock.patch.object(sympy, "simplify", quick):
        yield


@functools.cache
def sources() -> str:
    """A hash of the code that is traced."""
    here = Path(__file__)
    files = [*sorted(here.parents[1].glob("models/**/*.py")), here, here.with_name("losses.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def machine() -> list[str]:
    """What a library is compiled for."""
    return [torch.__version__, sys.platform, torch.backends.cpu.get_cpu_capability()]
