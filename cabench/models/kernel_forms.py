"""The forms of layers with a weight per sample, and which of them runs.

`choose` selects the form on a CPU by shape, never by timing, so that equal shapes give equal bits;
on CUDA `cuda_forms.choose_cuda` does, by a table that was measured before.
CABENCH_KERNELS="depthwise=grouped,linear=loop" overrides it, and the argument `form` of a layer
overrides both. benchmarks/kernels.py compares the forms' speed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from cabench.errors import CabenchError, near, shown

VARIABLE = "CABENCH_KERNELS"
Grid = tuple[int, int]  # height, width in tokens
Form = Callable[..., Tensor]

FORMS: dict[str, dict[str, Form]] = {"linear": {}, "depthwise": {}, "conv": {}}

# The forms that MAC counters can count. They also run on devices other than the CPU.
PLAIN = {"linear": "bmm", "depthwise": "grouped", "conv": "grouped"}
COMPOSED = {"linear": "bmm", "depthwise": "taps", "conv": "unfold"}  # within `composed`
_within_composed = ContextVar("composed", default=False)


@contextmanager
def composed() -> Iterator[None]:
    """Within it, layers are composed of operations that vmap can stack and a compiler can fuse."""
    token = _within_composed.set(True)
    try:
        yield
    finally:
        _within_composed.reset(token)


def is_composed() -> bool:
    """Does the code run within `composed`?"""
    return _within_composed.get()


def register(kind: str, name: str) -> Callable[[Form], Form]:
    """Register a form of a per-sample layer: kind 'linear' or 'depthwise'."""

    def add(form: Form) -> Form:
        FORMS[kind][name] = form
        return form

    return add


# ---- choice of the form --------------------------------------------------------------------------

# fmt: off
# Sizes of token tensors, in elements
LARGE_SAMPLE = 2**17    # one sample: above, a call per sample costs less than copies
LARGE_BATCH = 2**22     # a batch: above, its copies do not fit the cache
PART = 2**20            # the parts into which such a batch is split
# fmt: on


def choose(
    kind: str, batch: int, positions: int, inputs: int, outputs: int, kernel: int = 1
) -> str:
    """The form for one CPU thread: CABENCH_KERNELS, else the fastest one measured for this shape.

    It is within a few per cent of the best (benchmarks/README.md).
    """
    overridden = overridden_form(kind)
    if overridden is not None:
        return overridden
    if kind == "depthwise":
        if positions * inputs >= LARGE_SAMPLE:
            return "loop"
        return "parts" if batch * positions * inputs >= LARGE_BATCH else "wide"
    if kind == "linear":
        return "bmm"
    if inputs <= 64:
        return "grouped" if positions >= 64 else "unfold"
    return "loop" if positions >= 256 else "unfold"


def plain(kind: str, *shape: int) -> str:
    """The form on a device without a rule of its own."""
    return PLAIN[kind]


def overridden_form(kind: str) -> str | None:
    """The form of a kind of layer that the environment forces, if any."""
    text = os.environ.get(VARIABLE)
    return overrides(text).get(kind) if text else None


@functools.lru_cache
def overrides(text: str) -> dict[str, str]:
    """{kind: form} from 'depthwise=grouped,linear=loop'."""
    forms = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        kind, equals, form = (p.strip() for p in part.partition("="))
        if not equals:
            raise CabenchError(
                f"{VARIABLE}: expected KIND=FORM, separated by commas, such as "
                f"depthwise=grouped,linear=loop; got {shown(part)}"
            )
        check_known(kind, FORMS, VARIABLE)
        check_known(form, FORMS[kind], f"{VARIABLE}: {kind}")
        forms[kind] = form
    return forms


def check_known(name: str, allowed: Iterable[str], where: str) -> None:
    """CabenchError, with the near match, unless the name is one of those allowed."""
    allowed = list(allowed)
    if name not in allowed:
        expected = f"expected one of {', '.join(allowed)}"
        raise CabenchError(f"{where}: {expected}; got {shown(name)}{near(name, allowed)}")
