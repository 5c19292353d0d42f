"""Diagnostics of generated weights: their size, their spread, and their effective rank.

They are measured over a grid of conditions: up to CLASSES classes (of all streams together) at each
of TIMES, from one Gram matrix of the conditions per layer. No random number is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cabench.models.embedding import total
from cabench.models.model import ConditionalModel
from cabench.models.operations import Conditioning, Operation
from cabench.models.sites import SiteLayer
from cabench.models.streams import Streams, length, take

TIMES = (50.0, 275.0, 500.0, 725.0, 950.0)  # of 1000
CLASSES = 16  # at most, evenly spaced
FEW = 4  # classes or texts at each timestep, for the size of a step
SHARES = ("share_class", "share_time", "share_both")
RELATIVE = ("spread_class", "spread_time")  # divided by the mean static norm
PART = 65536  # columns of weights that are in memory as float64 at a time
ROUNDING = 1e-12  # variance, relative to the squared norms, below which it is float32 rounding

Measured = dict[str, dict[str, float | None]]  # by kind of site, by measure


@torch.no_grad()
def generated_weights(
    model: ConditionalModel, classes: dict[str, int], device: str, examples: Streams | None = None
) -> Measured:
    """{kind of site: {measure: mean over its layers}} of the sites with generated weights.

    static          Frobenius norm of the static weight
    generated       Frobenius norm of the generated weight, mean over conditions
    spread_class    RMS distance of the generated weights from their mean over classes at one
                    timestep, mean over timesteps, divided by `static` (None if that is zero)
    spread_time     the same over timesteps at one class, mean over classes
    effective_rank  number of directions in which the generated weights vary with the condition
    share_class     share of the variance over conditions that is due to the class alone
    share_time      the same of the timestep
    share_both      the rest, the interaction of the two (shares: None if nothing varies)

    `examples`: texts and vectors, up to CLASSES rows; there are then as many conditions at each
    timestep.
    """
    cond, count = _condition(model, classes, device, examples or {}, CLASSES)
    by_site: dict[str, list[dict[str, float]]] = {}
    for layer in (m for m in model.backbone.modules() if isinstance(m, SiteLayer)):
        weights = generated(layer, layer.operations(cond))  # (conditions, *static weight)
        if weights is not None:
            products = gram(weights)  # (conditions, conditions)
            grid = products.view(len(TIMES), count, len(TIMES), count)
            static = layer.weight.norm().item()
            by_site.setdefault(layer.site, []).append(
                {
                    "static": static,
                    "generated": products.diagonal().sqrt().mean().item(),
                    "spread_class": spread(grid.diagonal(dim1=0, dim2=2)),
                    "spread_time": spread(grid.diagonal(dim1=1, dim2=3)),
                    "effective_rank": effective_rank(products),
                    **shares(grid),
                }
            )
    return {kind: _means(layers) for kind, layers in by_site.items()}


def _condition(
    model: ConditionalModel, classes: dict[str, int], device: str, examples: Streams, most: int
) -> tuple[Conditioning, int]:
    """What the methods generate over the grid, timestep by timestep, and the classes at each."""
    count = length(examples) if examples else min(most, max(classes.values(), default=1))
    t = torch.tensor(TIMES, device=device).repeat_interleave(count)
    place = torch.arange(count, device=device).repeat(len(TIMES))
    streams = {name: place * size // count for name, size in classes.items()}
    streams |= take(examples, place.cpu(), device)  # the examples may be on the CPU
    return model.condition(t, streams, None), count


@dataclass(frozen=True)
class Produced:
    """Static and generated weights of each layer that has both, at one step of training."""

    # fmt: off
    site: str
    static: Tensor      # (*weight)
    generated: Tensor   # (conditions, *weight)
    # fmt: on


@torch.no_grad()
def produced_weights(
    model: ConditionalModel, classes: dict[str, int], device: str, examples: Streams | None = None
) -> list[Produced]:
    """The weights of all layers with generated ones, over a small grid of conditions."""
    cond, _ = _condition(model, classes, device, take(examples or {}, slice(FEW), device), FEW)
    layers = []
    for layer in (m for m in model.backbone.modules() if isinstance(m, SiteLayer)):
        weights = generated(layer, layer.operations(cond))
        if weights is not None:
            layers.append(Produced(layer.site, layer.weight.detach().clone(), weights))
    return layers


def step_sizes(before: list[Produced], after: list[Produced]) -> Measured:
    """{kind of site: RMS change per element of one step}, of the static and the generated weight.

    step_static     of W
    step_generated  of W_c, mean over conditions: under Adam it grows with the sum of |c|
    """
    by_site: dict[str, list[dict[str, float]]] = {}
    for old, new in zip(before, after, strict=True):
        static = (new.static - old.static).square().mean().sqrt().item()
        each = (new.generated - old.generated).flatten(1).square().mean(1).sqrt()
        sizes = {"step_static": static, "step_generated": each.mean().item()}
        by_site.setdefault(old.site, []).append(sizes)
    return {kind: _means(layers) for kind, layers in by_site.items()}


def generated(layer: SiteLayer, operations: Iterable[Operation]) -> Tensor | None:
    """The sum of all weights added to the layer's, (conditions, *static weight), or None."""
    added = [w for o in operations if (w := o.dense(layer.weight)) is not None]
    return total(added) if added else None


def gram(weights: Tensor) -> Tensor:
    """Inner products of n weights (n, ...) -> (n, n), float64, on the CPU."""
    parts = (part.double() for part in weights.flatten(1).split(PART, dim=1))
    return total(part @ part.T for part in parts).cpu()


def spread(grams: Tensor) -> float:
    """RMS distance of k weights from their mean, from m Gram matrices (k, k, m), mean over m."""
    variance = grams.diagonal(dim1=0, dim2=1).mean(1) - grams.mean((0, 1))
    return variance.clamp(min=0).sqrt().mean().item()


def effective_rank(products: Tensor) -> float:
    """exp of the entropy of the normalised squared singular values (after Roy & Vetterli, 2007).

    The mean over conditions is subtracted first: it acts as a static weight. 0 if nothing varies.
    """
    rows = products.mean(1)
    centred = products - rows[:, None] - rows[None, :] + products.mean()
    variances = torch.linalg.eigvalsh(centred).clamp(min=0)
    if variances.sum() <= ROUNDING * products.trace():
        return 0.0
    return torch.special.entr(variances / variances.sum()).sum().exp().item()


def shares(grid: Tensor) -> dict[str, float]:
    """Two-way analysis of variance, from inner products (T, C, T, C): shares that add up to 1.

    NaN where the variance is that of rounding.
    """
    t, c = grid.shape[:2]
    mean, squared = grid.mean(), grid.reshape(t * c, t * c).diagonal().mean()
    total = squared - mean
    if total <= ROUNDING * squared:
        return dict.fromkeys(SHARES, math.nan)
    time = grid.mean((1, 3)).diagonal().mean() - mean  # of the means over classes
    label = grid.mean((0, 2)).diagonal().mean() - mean
    parts = torch.stack([label, time, total - label - time]).clamp(min=0) / total
    return dict(zip(SHARES, parts.tolist(), strict=True))


def _means(layers: list[dict[str, float]]) -> dict[str, float | None]:
    """Means over the layers of a kind; of shares, over the layers where something varies."""
    means: dict[str, float | None] = {}
    for name in layers[0]:
        values = [layer[name] for layer in layers if not math.isnan(layer[name])]
        mean = math.fsum(values) / len(values) if values else None
        if name in RELATIVE and mean is not None:
            static = math.fsum(layer["static"] for layer in layers) / len(layers)
            mean = mean / static if static else None
        if mean is not None:
            mean = float(f"{mean:.4g}") if name.startswith("step") else round(mean, 6)
        means[name] = mean
    return means


def add_point(history: dict[str, Any], images: int, measured: Measured) -> None:
    """Appends to {images, sites: {kind: {measure: [...]}}}; stays {} without generated weights."""
    if measured:
        history.setdefault("images", []).append(images)
    for kind, measures in measured.items():
        lists = history.setdefault("sites", {}).setdefault(kind, {})
        for name, value in measures.items():
            lists.setdefault(name, []).append(value)


def last_point(history: dict[str, Any]) -> Measured:
    """The last measurement, {kind of site: {measure: value}}."""
    return {
        kind: {name: values[-1] for name, values in measures.items()}
        for kind, measures in history.get("sites", {}).items()
    }
