"""`cabench plugin check`: whether each part that a plugin registers does what it must.

It runs the plugin's code on small networks and on digits, and trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from cabench.config.schema import Arm
from cabench.data import Dataset, contract, load_dataset, options_model
from cabench.errors import CabenchError, describe, listed
from cabench.metrics import first_scores
from cabench.planning.methods import Network
from cabench.planning.models import resolve_models
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import (
    BACKBONES,
    DATASETS,
    METHODS,
    METRICS,
    REGISTRIES,
    Registry,
    plugin_of,
)
from cabench.runtime.console import screen

DATA = "digits"
Line = tuple[bool, str]  # whether it is as it must be, and what was seen


def check_plugin(path: Path, cache: Path) -> int:
    """Print a line per part and place where it was tried; return 1 where one is not as it must."""
    plugins = read_plugins([path])
    load_plugins(plugins)
    console, failed = screen(), False
    for registry in REGISTRIES:
        for name in registry.names():
            if plugin_of(registry.get(name)) != plugins[0].sha256:
                continue
            for valid, text in _lines(registry, name, cache):
                failed |= not valid
                mark = "ok" if valid else "FAULT"
                console.print(f"{registry.kind} '{name}': {mark}: {text}", soft_wrap=True)
    return 1 if failed else 0


def _lines(registry: Registry, name: str, cache: Path) -> Iterator[Line]:
    check = CHECKS.get(registry.kind)
    if check is None:
        yield True, "registered; it is checked where a study uses it"
        return
    try:
        yield from check(name, cache)
    except CabenchError as error:
        yield False, str(error)
    except (Exception, SystemExit) as error:  # whatever a plugin's code raises
        yield False, describe(error)


# ---- methods and backbones ----------------------------------------------------------------------


def _network(backbone: str) -> Network:
    preset = next(iter(BACKBONES.get(backbone).presets))
    return Network(
        backbone, preset, patch=2, shape=(1, 8, 8), classes={"label": 10}, needs=["label"]
    )


def _method(name: str, cache: Path) -> Iterator[Line]:
    """Forward, backward and a count of MACs on the smallest preset of each built-in backbone."""
    from cabench.cost.macs import fvcore_macs
    from cabench.models.contract import fault

    tried = 0
    for backbone in (b for b in BACKBONES.names() if plugin_of(BACKBONES.get(b)) is None):
        arm = Arm(methods=[name], depthwise="static")
        try:
            spec = resolve_models({"arm": arm}, _network(backbone))["arm"].spec
        except CabenchError as error:
            yield True, f"not on {backbone}: {error}"
            continue
        tried += 1
        text = fault(spec)
        parts = "its parameters get gradients, its output depends on its source"
        yield text is None, f"on {backbone}: {text or parts}"
        if text is None:  # Uncounted where an operator has no rule: a trial would fail
            fvcore_macs(spec)
    if not tried:
        yield False, f"it fits no backbone; backbones: {listed(BACKBONES.names())}"


def _backbone(name: str, cache: Path) -> Iterator[Line]:
    """The smallest preset with its native methods: shapes, description."""
    import torch

    from cabench.cost.macs import meta_macs
    from cabench.models.model import build_initialised

    arms = {"native": Arm(methods=["native"]), "none": Arm(methods=[])}
    for arm, resolved in resolve_models(arms, _network(name)).items():
        model = build_initialised(resolved.spec, 0)
        x = torch.randn(3, 1, 8, 8)
        y = model(x, torch.tensor([1.0, 500.0, 999.0]), {"label": torch.arange(3)})
        yield y.shape == x.shape, f"{arm}: from {tuple(x.shape)} to {tuple(y.shape)}"
        yield True, f"{arm}: {meta_macs(resolved.spec).total:,} MACs can be counted"
    text = BACKBONES.get(name).describe(resolved.spec.backbone.dump())
    yield isinstance(text, str) and bool(text), f"describes itself as {text!r}"


# ---- metrics ------------------------------------------------------------------------------------


def _metric(name: str, cache: Path) -> Iterator[Line]:
    """The metric on digits, or on an untrained network."""
    dataset = load_dataset(DATA)
    if METRICS.get(name).needs == "model":
        spec = resolve_models({"arm": Arm(methods=["native"])}, _network("dit"))["arm"].spec
        values = first_scores.of_network(name, dataset, spec)
        finite = all(math.isfinite(value) for value in values.values())
        yield name in values, f"returns {listed(values)}"
        yield finite, f"finite on an untrained network: {finite}"
        return
    scores = first_scores.of_images(name, dataset, first_scores.samples(name), cache)
    yield scores.finite, scores.text
    if scores.finite:
        word = "higher" if scores.higher_is_better else "lower"
        noise = "worse" if scores.noise_is_worse else "NOT worse"
        yield True, f"{word} is better: noise is {noise} than real images"


# ---- data ---------------------------------------------------------------------------------------


def _dataset(name: str, cache: Path) -> Iterator[Line]:
    """The source with its default options, loaded twice."""
    fields = options_model(name).model_fields
    if needed := [option for option, field in fields.items() if field.is_required()]:
        how = " ".join(f"-o {option}=..." for option in needed)
        yield True, f"it needs options: cabench data check {name} --plugin FILE {how}"
        return
    load = DATASETS.get(name)
    first, again = load(), load()
    if not isinstance(first, Dataset):
        yield False, contract.fault(first) or ""
        return
    yield first.fingerprint == again.fingerprint, "the same content when it is loaded again"
    yield from contract.lines(first)


CHECKS: dict[str, Callable[[str, Path], Iterator[Line]]] = {
    METHODS.kind: _method,
    BACKBONES.kind: _backbone,
    METRICS.kind: _metric,
    DATASETS.kind: _dataset,
}
