"""Initial values: each parameter is drawn by its own generator, seeded by (seed, salt, name).

Two arms that have a parameter of the same name start from the same value of it, whatever other
parameters they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cabench.errors import CabenchError
from cabench.runtime.rng import generator

M = TypeVar("M", bound=nn.Module)

RULES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "zeros": lambda p, g: p.zero_(),
    "ones": lambda p, g: p.fill_(1.0),
    "xavier": lambda p, g: p.uniform_(-1, 1, generator=g).mul_(math.sqrt(6 / sum(fans(p)))),
    "normal02": lambda p, g: p.normal_(0, 0.02, generator=g),
    # timm's: truncated at +-2, which is 100 standard deviations, so a normal. torch's function
    # draws other numbers before 2.13
    "trunc02": lambda p, g: p.normal_(0, 0.02, generator=g),
    "uniform": lambda p, g: p.uniform_(-1, 1, generator=g),
    "normal": lambda p, g: p.normal_(0, 1, generator=g),
    "lecun": lambda p, g: p.normal_(0, fans(p)[0] ** -0.5, generator=g),
}


@dataclass(frozen=True)
class Rule:
    """How a parameter is initialised."""

    # fmt: off
    init: str             # one of RULES
    scale: float = 1      # multiplies the drawn values
    stack: bool = False   # the first axis counts weights, each drawn by itself
    # fmt: on


def fans(p: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (out, in, ...)."""
    receptive = math.prod(p.shape[2:])
    return p.shape[1] * receptive, p.shape[0] * receptive


def mark(p: nn.Parameter, rule: Rule) -> nn.Parameter:
    """Attaches the rule by which `initialise` fills this parameter."""
    p.rule = rule  # pyright: ignore[reportAttributeAccessIssue]
    return p


def rule_of(p: Tensor) -> Rule | None:
    """The rule that initialises a parameter, if it has one."""
    return getattr(p, "rule", None)


def parameter(*shape: int, init: str, scale: float = 1, stack: bool = False) -> nn.Parameter:
    """An empty parameter with the rule that will initialise it; see Rule for the arguments."""
    return mark(nn.Parameter(torch.empty(*shape)), Rule(init, scale, stack))


def tag(module: M, *, scale: float = 1, **inits: str) -> M:
    """Sets the rules of a module's parameters, as in `tag(linear, weight="zeros")`."""
    for name, init in inits.items():
        p = getattr(module, name)
        if p is not None:
            mark(p, Rule(init, scale))
    return module


def default_rule(owner: nn.Module, name: str) -> Rule | None:
    """The rule for a parameter of torch's own layers that has none, as in DiT."""
    if isinstance(owner, nn.Embedding):
        return Rule("normal02")
    if isinstance(owner, nn.LayerNorm):
        return Rule("ones" if name == "weight" else "zeros")
    if isinstance(owner, nn.Linear | nn.Conv2d):
        return Rule("xavier" if name == "weight" else "zeros")
    return None


def constant(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """function(*args), computed on the CPU, then moved to the device the model is built on."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        value = function(*args)
    return value.to(device)


@torch.no_grad()
def initialise(model: nn.Module, seed: int, salt: str = "") -> None:
    """Fills all parameters of `model` in place; CabenchError if one has no rule."""
    for path, owner in model.named_modules():
        for name, p in owner.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            rule = rule_of(p) or default_rule(owner, name)
            if rule is None:
                raise CabenchError(
                    f"parameter '{full}' has no initial value: create it with "
                    f"cabench.models.init.parameter(..., init=one of {sorted(RULES)})"
                )
            g = generator(seed, "init", salt, full)
            for part in p if rule.stack else [p]:
                RULES[rule.init](part, g)
            p.mul_(rule.scale)
