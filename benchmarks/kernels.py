"""Time of layers with a weight per sample, in every form, relative to the static layer.

    python benchmarks/kernels.py [--kinds linear,depthwise,ffn,conv] [--batches 1,16,64,250]
        [--widths 64,384] [--tokens 16,64,256] [--rounds 9] [--memory] [--csv FILE]

One thread. The static layer and all forms alternate. A ratio is the median over rounds of a form's
time over the static layer's in the same round, in CPU time of the thread, which other processes
disturb less. A step is forward and backward to input, weight and bias; at batch 1 it is forward
alone. Weights have a generator's layout, (B, numbers), and so must their gradient: a form that
leaves it transposed includes the copy. `auto` is the form used by default: the one of `choose`, or
the static layer at batch 1. The regret is its time over that of the fastest form in this run. The
static layer is the fastest known: channels last for the depthwise convolution, the faster of both
memory layouts for a full convolution.

`ffn` is DiT's feed-forward network with the depthwise convolution inside: `wide` returns rows that
are not contiguous, and the time of what follows is included. `ordered` is `wide` with the whole
network on tokens before samples, so that two copies of a quarter of the size replace four.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import thread_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from cabench.errors import CabenchError, near
from cabench.models.activations import gelu_tanh
from cabench.models.kernel_forms import FORMS, choose
from cabench.models.kernels import (
    conditional_conv,
    conditional_depthwise,
    conditional_linear,
    static_depthwise,
)
from cabench.runtime.threads import keep_memory

KINDS = ("linear", "depthwise", "ffn", "conv")
KERNEL = 3
LARGEST = 2e9  # bytes of tensors; larger shapes are left out
SLOW = 4  # times the fastest; slower forms stop after two rounds
LAST = "channels last"
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    kind: str
    batch: int
    tokens: int  # a square grid
    width: int  # input channels, and as many output channels

    @property
    def grid(self) -> tuple[int, int]:
        side = math.isqrt(self.tokens)
        return side, side

    @property
    def of(self) -> str:
        """The kind of layer that has a weight per sample."""
        return "depthwise" if self.kind == "ffn" else self.kind

    @property
    def weight_shape(self) -> tuple[int, ...]:
        k = (KERNEL, KERNEL)
        return {
            "linear": (self.width, self.width),
            "depthwise": (self.width, 1, *k),
            "conv": (self.width, self.width, *k),
        }[self.of]

    @property
    def bytes(self) -> int:
        """Input, output, their gradients, weights and gradient."""
        activations = self.batch * self.tokens * self.width
        inside = 5 if self.kind == "ffn" else 1  # activations that autograd keeps
        return 4 * (4 * inside * activations + 2 * self.batch * math.prod(self.weight_shape))

    def chosen(self) -> str:
        if self.batch == 1:
            return "static"
        kernel = () if self.kind == "linear" else (KERNEL,)
        return choose(self.of, self.batch, self.tokens, self.width, self.width, *kernel)

    def forms(self) -> list[str]:
        """The forms that are timed beside 'static'."""
        return [*FORMS[self.of], *(["ordered"] if self.kind == "ffn" else []), "auto"]

    def step(self, form: str) -> Step:
        """One step of one form, 'static' among them."""
        g = torch.Generator().manual_seed(0)
        outer = self.width // 4 if self.kind == "ffn" else self.width
        at = (self.batch, self.tokens, outer)
        if self.kind == "conv":
            at = (self.batch, self.width, *self.grid)
        x, upstream = (torch.randn(at, generator=g) for _ in range(2))
        bias = torch.randn(self.width, generator=g)
        shape = self.weight_shape
        if form not in ("static", LAST):
            weight = torch.randn(self.batch, math.prod(shape), generator=g)
        else:
            weight = torch.randn(shape, generator=g)
        leaves = [x, weight, bias]
        if self.kind == "ffn":
            leaves += [
                torch.randn(outer * 4, outer, generator=g) / outer**0.5,
                torch.randn(outer, outer * 4, generator=g) / outer**0.5,
            ]
        layer = self.layer(form)
        if self.batch == 1:
            return lambda: layer(*leaves)
        for leaf in leaves:
            leaf.requires_grad_()
        return lambda: torch.autograd.grad(layer(*leaves), leaves, upstream)

    def layer(self, form: str) -> Callable[..., Tensor]:
        """Takes x, weight (per sample: flat), bias and, in an FFN, its two weights."""
        each = (self.batch, *self.weight_shape)
        name = {"ordered": "wide", "auto": None}.get(form, form)
        if self.kind == "linear":
            if form == "static":
                return F.linear
            return lambda x, weight, bias: conditional_linear(x, weight.view(each), bias, name)
        if self.kind == "conv":
            if form in ("static", LAST):
                return lambda x, weight, bias: self.static_conv(x, weight, bias, form == LAST)
            return lambda x, weight, bias: conditional_conv(x, weight.view(each), bias, name)

        def depthwise(x, weight, bias):
            if form == "static":
                return static_depthwise(x, weight, bias, self.grid)
            return conditional_depthwise(x, weight.view(each), bias, self.grid, name)

        if self.kind == "depthwise":
            return depthwise

        def turned(x: Tensor) -> Tensor:
            return x.transpose(0, 1) if form == "ordered" else x

        def ffn(x, weight, bias, first, second):
            h = turned(gelu_tanh(F.linear(turned(x).contiguous(), first)))
            h = turned(h + gelu_tanh(depthwise(h, weight, bias)))
            return turned(F.linear(h, second)).contiguous()

        return ffn

    def static_conv(self, x: Tensor, weight: Tensor, bias: Tensor, last: bool) -> Tensor:
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, bias, padding=KERNEL // 2).contiguous()


def times(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds by form and round, taken in turn."""
    for step in steps.values():
        step()  # warm-up
    taken: dict[str, list[float]] = {name: [] for name in steps}
    running = dict(steps)
    for r in range(rounds):
        for name, step in running.items():
            start = thread_time()
            step()
            taken[name].append(thread_time() - start)
        if r == 1:
            fastest = min(median(t) for t in taken.values())
            running = {n: s for n, s in steps.items() if median(taken[n]) < SLOW * fastest}
            running["static"] = steps["static"]
    return taken


def measure(case: Case, rounds: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of the static layer; by form, the ratio to it."""
    names = ["static", *([LAST] if case.kind == "conv" else []), *case.forms()]
    taken = times({name: case.step(name) for name in names}, rounds)
    static, last = taken.pop("static"), taken.pop(LAST, None)
    if last and median(last) < median(static):
        static = last
    ratio = {n: median(a / b for a, b in zip(t, static, strict=False)) for n, t in taken.items()}
    return median(static) * 1e3, ratio


def resident(what: str) -> int:
    """kB of memory: VmRSS is the current value, VmHWM the peak."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(what))


def added(work: Callable[[], object]) -> float:
    """Peak MB of `work` above what the process holds."""
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # resets the high-water mark
    before = resident("VmRSS")
    work()
    return (resident("VmHWM") - before) / 1e3


def peak(case: Case, form: str) -> float:
    """MB that a step adds, inputs included, to what a process holds after a small step."""
    Case(case.kind, 2, 4, 8).step(form)()
    return added(lambda: case.step(form)())


def peak_in_fresh_process(case: Case, form: str) -> float:
    shape = f"{case.kind},{case.batch},{case.tokens},{case.width}"
    command = [sys.executable, __file__, "--peak", shape, form]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def heading(kind: str, forms: list[str], memory: bool) -> str:
    names = "".join(f"{n:>9}" for n in forms)
    line = f"\n{kind:<10} {'batch':>5} {'tokens':>6} {'width':>5} {'static':>10}{names}"
    return f"{line}{'chosen':>9} {'regret':>6}" + ("   MB static, chosen" if memory else "")


def row(case: Case, rounds: int, memory: bool) -> tuple[str, dict[str, object]]:
    """A line to print, and the same for the file."""
    shape = {"batch": case.batch, "tokens": case.tokens, "width": case.width}
    line = f"{'':<10} {case.batch:>5} {case.tokens:>6} {case.width:>5}"
    cells = {"kind": case.kind, "pass": "forward" if case.batch == 1 else "step", **shape}
    if case.bytes > LARGEST:
        return f"{line}   left out: {case.bytes / 1e9:.1f} GB of tensors", cells
    ms, ratio = measure(case, rounds)
    chosen = case.chosen()
    regret = ratio["auto"] / min(ratio[n] for n in (*FORMS[case.of], "auto"))
    line += f"{ms:>8.2f} ms" + "".join(f"{ratio[n]:>9.2f}" for n in case.forms())
    line += f"{chosen:>9} {regret:>6.2f}"
    cells |= {"static_ms": round(ms, 4)} | {n: round(r, 3) for n, r in ratio.items()}
    cells |= {"chosen": chosen, "regret": round(regret, 3)}
    if memory:
        static, own = (peak_in_fresh_process(case, form) for form in ("static", "auto"))
        line += f"   {static:>9.0f}, {own:.0f}"
        cells |= {"static_mb": round(static, 1), "chosen_mb": round(own, 1)}
    return line, cells


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def kinds(text: str) -> list[str]:
    for kind in text.split(","):
        if kind not in KINDS:
            raise CabenchError(
                f"--kinds: expected {', '.join(KINDS)}, got '{kind}'{near(kind, KINDS)}"
            )
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--batches", type=numbers, default=[1, 16, 64, 250])
    wide = "of the model: depthwise and ffn have 4 times the channels"
    parser.add_argument("--widths", type=numbers, default=[64, 384], help=wide)
    parser.add_argument("--tokens", type=numbers, default=[16, 64, 256])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory", action="store_true", help="peak memory of a step as well")
    parser.add_argument("--csv", help="also write the table to a file")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        kind, *shape = arguments.peak[0].split(",")
        return print(peak(Case(kind, *map(int, shape)), arguments.peak[1]))

    keep_memory()  # as in a process that trains
    rows = []
    for kind in kinds(arguments.kinds):
        print(heading(kind, Case(kind, 1, 1, 4).forms(), arguments.memory))
        for width in arguments.widths:
            for tokens in arguments.tokens:
                for batch in arguments.batches:
                    channels = 4 * width if kind in ("depthwise", "ffn") else width
                    line, cells = row(
                        Case(kind, batch, tokens, channels), arguments.rounds, arguments.memory
                    )
                    print(line, flush=True)
                    rows.append(cells)
    if arguments.csv:
        columns = list(dict.fromkeys(name for cells in rows for name in cells))
        with open(arguments.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    try:
        main()
    except CabenchError as error:
        sys.exit(str(error))
