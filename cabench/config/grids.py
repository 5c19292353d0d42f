"""`grid: {can.rank: [4, 8, 16]}` in an arm: one arm per combination of values.

An arm `can` becomes `can-rank-4`, `can-rank-8` and `can-rank-16`; claims name these.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cabench.config.schema import Arm
from cabench.config.yaml import value_at
from cabench.errors import ConfigError, Where, listed, shown, unknown
from cabench.runtime.validation import NAME, NAMES, first_fault, validate

ARM_KEYS = ("depthwise", "gate", "profile", "embedder", "init_salt")
BACKBONE = "backbone"
MOST_ARMS = 1000  # of one grid


@dataclass
class Expansion:
    """The arms of a study with a combination of values each, and where these are written."""

    # fmt: off
    arms: dict[str, Arm] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)   # arm with a grid -> its arms
    origins: dict[Where, Where] = field(default_factory=dict)   # place -> where the file writes it
    # fmt: on


def expand(arms: Mapping[str, Arm]) -> Expansion:
    """Replace each arm that has a grid by its combinations, in the order of the file."""
    expansion = Expansion()
    for name, arm in arms.items():
        if not arm.grid:
            _add(expansion, name, arm, ("arms", name))
            continue
        expansion.names[name] = []
        for combination in _combinations(name, arm):
            one = combination.name
            _add(expansion, one, combination.arm, ("arms", name, "grid"))
            expansion.names[name].append(one)
            expansion.origins[("arms", one)] = ("arms", name)
            for place, origin in combination.origins.items():
                expansion.origins[("arms", one, *place)] = origin
    return expansion


def check_expanded(references: Iterable[tuple[Where, str]], names: Mapping[str, list[str]]) -> None:
    """Refuses references to an arm that has a grid: each combination is an arm of its own."""
    for where, name in references:
        if name in names:
            text = f"'{name}' has a grid; expected one of its arms: {listed(names[name])}"
            raise ConfigError("study", where, text)


def _add(expansion: Expansion, name: str, arm: Arm, where: Where) -> None:
    if name in expansion.arms:
        raise ConfigError("study", where, f"two arms have the name '{name}'")
    expansion.arms[name] = arm


# ---- one arm ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Combination:
    """An arm with one value of each key of the grid."""

    name: str
    arm: Arm
    origins: dict[Where, Where]  # place in the arm -> place in the file


def _combinations(name: str, arm: Arm) -> Iterator[Combination]:
    """The arms of a grid; the last key varies fastest."""
    where: Where = ("arms", name, "grid")
    if (count := math.prod(map(len, arm.grid.values()))) > MOST_ARMS:
        raise ConfigError("study", where, f"expected at most {MOST_ARMS:,} arms, got {count:,}")
    written = arm.model_dump(exclude_unset=True, exclude={"grid"})
    places = {key: _place(arm, key, (*where, key)) for key in arm.grid}
    for key, place in places.items():
        if (value := value_at(written, place)) is not None:
            text = f"the arm has a value for it, {shown(value)}, too"
            raise ConfigError("study", (*where, key), text)
    titles = _titles(list(arm.grid))
    for indices in itertools.product(*(range(len(values)) for values in arm.grid.values())):
        content, one, origins = copy.deepcopy(written), name, {}
        for (key, values), i in zip(arm.grid.items(), indices, strict=True):
            _put(content, places[key], values[i])
            one += f"-{titles[key]}-{value_text(values[i])}"
            origins[places[key]] = (*where, key, i)
        if not re.match(NAME, one):
            text = f"a combination would be named {shown(one)}; expected {NAMES[NAME]}"
            raise ConfigError("study", where, text)
        yield Combination(one, _validated(content, origins, ("arms", name)), origins)


def _place(arm: Arm, key: str, where: Where) -> Where:
    """Where an arm has the value of a key: `embedder`, `backbone.OPTION` or `METHOD.OPTION`."""
    first, dot, option = key.partition(".")
    if not dot and key in ARM_KEYS:
        return (key,)
    if dot and first == BACKBONE:
        return (BACKBONE, option)
    methods = [one if isinstance(one, str) else next(iter(one), "") for one in arm.methods]
    varied = [method for method in methods if method != "native"]  # which takes no options
    if not dot:
        allowed = [*ARM_KEYS, f"{BACKBONE}.OPTION", *(f"{method}.OPTION" for method in varied)]
        raise ConfigError("study", where, unknown("key of a grid", key, allowed))
    if first not in varied:
        raise ConfigError("study", where, unknown("method of the arm", first, varied))
    if varied.count(first) > 1:
        raise ConfigError("study", where, f"the arm has '{first}' twice")
    return ("methods", methods.index(first), first, option)


def _titles(keys: list[str]) -> dict[str, str]:
    """What names call the keys: 'rank' for 'can.rank', unless another key ends alike."""
    short = {key: key.rpartition(".")[2] for key in keys}
    taken = list(short.values())
    return {key: key if taken.count(end) > 1 else end for key, end in short.items()}


def value_text(value: Any) -> str:
    """A value as part of an arm's name: '4', '0.5', 'mlp', 'depthwise+head', 'null'."""
    if isinstance(value, list):
        return "+".join(map(value_text, value)) or "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-z0-9_+.\-]+", "_", text.lower()) or "none"


def _put(content: dict[str, Any], place: Where, value: Any) -> None:
    """Set a value of an arm; a method's name alone becomes its name with options."""
    match place:
        case ("methods", int(i), str(method), option):
            entry = content["methods"][i]
            options = entry[method] if isinstance(entry, dict) else None
            content["methods"][i] = {method: {**(options or {}), option: value}}
        case (str(part), str(option)):
            content[part] = {**content.get(part, {}), option: value}
        case (str(key),):
            content[key] = value


def _validated(content: dict[str, Any], origins: Mapping[Where, Where], where: Where) -> Arm:
    try:
        return validate(Arm, content)
    except ValidationError as error:
        inner, text = first_fault(error, Arm, content)
        raise ConfigError("study", origins.get(inner, where), text) from None
