"""Which form of a layer with a weight per sample runs on CUDA: the fastest one of a measured table.

scripts/gpu_check.sh measures the forms and writes the table. None is part of cabench yet, as no GPU
has measured one; until then the forms are those of `PLAIN`. Another table gives other bits on a
GPU, so whoever adds one raises `diffusion.training.DRAWS`.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cabench.errors import CabenchError
from cabench.models.kernel_forms import FORMS, PLAIN, check_known

TABLE = Path(__file__).with_name("cuda_forms.csv")


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a layer's forward and backward pass in one form."""

    # fmt: off
    kind: str           # of the layer
    batch: int
    positions: int      # of the grid
    inputs: int         # channels
    outputs: int
    kernel: int         # side of the kernel
    form: str
    ms: float
    # fmt: on

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.positions, self.inputs, self.outputs


def choose_cuda(
    kind: str, batch: int, positions: int, inputs: int, outputs: int, kernel: int = 1
) -> str:
    """The form that was fastest at the nearest shape of the table, with the same kernel if it can.

    Distances are those of the logarithms of the sizes. A kind that the table lacks has its plain
    form.
    """
    return _choose(TABLE, kind, (batch, positions, inputs, outputs), kernel)


@functools.lru_cache(maxsize=4096)
def _choose(table: Path, kind: str, shape: tuple[int, ...], kernel: int) -> str:
    timings = [timing for timing in read(table) if timing.kind == kind]
    if not timings:
        return PLAIN[kind]

    def rank(timing: Timing) -> tuple[bool, float, float]:
        pairs = zip(timing.shape, shape, strict=True)
        distance = sum(math.log2(a / b) ** 2 for a, b in pairs)
        return timing.kernel != kernel, distance, timing.ms

    return min(timings, key=rank).form


@functools.cache
def read(path: Path) -> tuple[Timing, ...]:
    """The table; () if there is none. CabenchError names a line that is not one of it."""
    if not path.exists():
        return ()
    timings = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                sizes = {name: int(row[name]) for name in SIZES}
                timing = Timing(row["kind"], **sizes, form=row["form"], ms=float(row["ms"]))
                valid = min(sizes.values()) > 0 and timing.ms > 0
            except (KeyError, TypeError, ValueError):
                valid = False
            if not valid:
                columns = ", ".join(field.name for field in fields(Timing))
                raise CabenchError(f"{path}:{number}: expected values above 0 for {columns}")
            check_known(timing.kind, FORMS, f"{path}:{number}: kind")
            check_known(timing.form, FORMS[timing.kind], f"{path}:{number}: form")
            timings.append(timing)
    return tuple(timings)


def write(path: Path, timings: Iterable[Timing]) -> None:
    """Writes a table that `read` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Timing)])
        writer.writeheader()
        writer.writerows(asdict(timing) for timing in timings)


SIZES = ("batch", "positions", "inputs", "outputs", "kernel")
