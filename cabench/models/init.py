"""Initial values: every parameter is drawn from its own generator, seeded by (seed, salt, name).

So two arms that share a parameter's name share its initial value, whatever else they hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cabench.errors import CabenchError
from cabench.runtime.rng import generator

RULES = {
    "zeros": lambda p, g: p.zero_(),
    "ones": lambda p, g: p.fill_(1.0),
    "xavier": lambda p, g: p.uniform_(-1, 1, generator=g).mul_(math.sqrt(6 / sum(fans(p)))),
    "normal02": lambda p, g: p.normal_(0, 0.02, generator=g),
    "trunc02": lambda p, g: nn.init.trunc_normal_(p, std=0.02, generator=g),
    "uniform": lambda p, g: p.uniform_(-1, 1, generator=g),
    "normal": lambda p, g: p.normal_(0, 1, generator=g),
    "lecun": lambda p, g: p.normal_(0, fans(p)[0] ** -0.5, generator=g),
}


def fans(p: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (out, in, ...)."""
    receptive = math.prod(p.shape[2:])
    return p.shape[1] * receptive, p.shape[0] * receptive


def tag(module: nn.Module, **rules: str) -> nn.Module:
    """Marks parameters of `module` with the rule that draws them: tag(linear, weight='zeros')."""
    for name, rule in rules.items():
        parameter = getattr(module, name)
        if parameter is not None:
            parameter.init = rule
    return module


def fixed(make: Callable[..., Tensor], *given: Any) -> Tensor:
    """`make(*given)` computed on the CPU, then where the model is built (meta: its shape alone)."""
    here = torch.get_default_device()
    with torch.device("cpu"):
        made = make(*given)
    return made.to(here)


def parameter(*shape: int, init: str, spread: float = 1, stack: bool = False) -> nn.Parameter:
    """A parameter that `initialise` will fill by the rule `init` (one of RULES), times `spread`.

    stack: along its first axis stand weights, each drawn by the rule alone.
    """
    p = nn.Parameter(torch.empty(*shape))
    p.init, p.spread, p.stack = init, spread, stack
    return p


def default_rule(owner: nn.Module, name: str) -> str | None:
    """Rules for torch's own layers when a method's author tagged nothing (as DiT does)."""
    if isinstance(owner, nn.Embedding):
        return "normal02"
    if isinstance(owner, nn.LayerNorm):
        return "ones" if name == "weight" else "zeros"
    if isinstance(owner, nn.Linear | nn.Conv2d):
        return "xavier" if name == "weight" else "zeros"
    return None


@torch.no_grad()
def initialise(model: nn.Module, seed: int, salt: str = "") -> None:
    """Fills all parameters of `model` in place; raises when one has no rule."""
    for path, owner in model.named_modules():
        for name, p in owner.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            rule = getattr(p, "init", None) or default_rule(owner, name)
            if rule is None:
                raise CabenchError(
                    f"parameter '{full}' has no initial value: make it with "
                    f"cabench.models.init.parameter(..., init=one of {sorted(RULES)})"
                )
            g = generator(seed, "init", salt, full)
            for part in p if getattr(p, "stack", False) else [p]:
                RULES[rule](part, g)
            p.mul_(getattr(p, "spread", 1))
