"""`cabench plugin check`: whether each part that a plugin registers does what it must.

It runs the plugin's code on small networks and on digits, and trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cabench import metrics
from cabench.config.schema import Arm
from cabench.data import SPLITS, Dataset, load_dataset
from cabench.errors import CabenchError, describe, listed
from cabench.planning.models import Network, resolve_models
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
SAMPLES = 110  # of real images that a metric scores
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
    metric = METRICS.get(name)
    if metric.needs == "model":
        yield from _model_metric(name)
        return
    dataset = load_dataset(DATA)
    n = max(SAMPLES, metric.min_samples)
    scorer = metrics.SampleScorer(dataset, n, cache, metrics=[name])
    real = scorer.floor()[name]
    shape = (n, *dataset.shape)
    noise = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    noisy = scorer.score(noise, scorer.labels)[name]
    seen = f"{real:.4g} of {n} real images, {noisy:.4g} of noise"
    finite = math.isfinite(real) and math.isfinite(noisy)
    yield finite, seen if finite else f"expected finite numbers, got {seen}"
    if finite:
        worse = noisy < real if metric.higher_is_better else noisy > real
        word = "higher" if metric.higher_is_better else "lower"
        yield (
            True,
            f"{word} is better: noise is {'worse' if worse else 'NOT worse'} than real images",
        )


def _model_metric(name: str) -> Iterator[Line]:
    from cabench.diffusion.process import Process
    from cabench.models.model import build_initialised

    spec = resolve_models({"arm": Arm(methods=["native"])}, _network("dit"))["arm"].spec
    values = METRICS.get(name).compute(
        build_initialised(spec, 0).eval(),
        Process("v", "cosine"),
        load_dataset(DATA),
        {"images": 50, "bins": 5, "repeats": 1},
        "cpu",
    )
    finite = all(math.isfinite(value) for value in values.values())
    yield name in values, f"returns {listed(values)}"
    yield finite, f"finite on an untrained network: {finite}"


# ---- data ---------------------------------------------------------------------------------------


def _dataset(name: str, cache: Path) -> Iterator[Line]:
    """The source with its default options, loaded twice."""
    first, again = load_dataset(name), load_dataset(name)
    yield first.fingerprint == again.fingerprint, "the same content when it is loaded again"
    for split in SPLITS:
        yield from _split(first, split)


def _split(dataset: Dataset, name: str) -> Iterator[Line]:
    split = dataset.split(name)
    images = split.images
    valid = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == dataset.shape
    yield valid, f"{name}: images {images.shape} {images.dtype}, expected (N, C, H, W) uint8"
    for stream, values in split.streams.items():
        classes = len(dataset.classes.get(stream, []))
        inside = values.shape == (len(split),) and bool(((values >= 0) & (values < classes)).all())
        yield inside, f"{name}: {len(values)} values of '{stream}' below {classes} (its classes)"
    for stream, maps in split.maps.items():
        fits = maps.shape[::2] == images.shape[::2] and maps.shape[3:] == images.shape[3:]
        text = f"{name}: maps '{stream}' {maps.shape} {maps.dtype}, expected images' N, H, W, uint8"
        yield maps.dtype == np.uint8 and maps.ndim == 4 and fits, text


CHECKS: dict[str, Callable[[str, Path], Iterator[Line]]] = {
    METHODS.kind: _method,
    BACKBONES.kind: _backbone,
    METRICS.kind: _metric,
    DATASETS.kind: _dataset,
}
