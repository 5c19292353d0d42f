"""Diagnostics of generated weights: their size, their spread, and their effective rank.

They are measured over a grid of conditions: up to CLASSES classes (of all streams together) at each
of TIMES, from one Gram matrix of the conditions per layer. No random number is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cabench.models.embedding import total
from cabench.models.model import ConditionalModel
from cabench.models.operations import Operation
from cabench.models.sites import SiteLayer
from cabench.models.streams import Streams, length, take

TIMES = (50.0, 275.0, 500.0, 725.0, 950.0)  # of 1000
CLASSES = 16  # at most, evenly spaced
PART = 65536  # columns of weights that are in memory as float64 at a time
ROUNDING = 1e-12  # variance, relative to the squared norms, below which it is float32 rounding

Measured = dict[str, dict[str, float | None]]  # by kind of site, by measure


@torch.no_grad()
def generated_weights(
    model: ConditionalModel, classes: dict[str, int], device: str, texts: Streams | None = None
) -> Measured:
    """{kind of site: {measure: mean over its layers}} of the sites with generated weights.

    static          Frobenius norm of the static weight
    generated       Frobenius norm of the generated weight, mean over conditions
    spread_class    RMS distance of the generated weights from their mean over classes at one
                    timestep, mean over timesteps, divided by `static` (None if that is zero)
    spread_time     the same over timesteps at one class, mean over classes
    effective_rank  number of directions in which the generated weights vary with the condition

    `texts`: text streams with up to CLASSES rows; there are then as many conditions per timestep.
    """
    texts = texts or {}
    count = length(texts) if texts else min(CLASSES, max(classes.values(), default=1))
    t = torch.tensor(TIMES, device=device).repeat_interleave(count)
    place = torch.arange(count, device=device).repeat(len(TIMES))
    streams = {name: place * size // count for name, size in classes.items()}
    streams |= take(texts, place, device)
    cond = model.condition(t, streams, None)
    by_site: dict[str, list[tuple[float, ...]]] = {}
    for layer in (m for m in model.backbone.modules() if isinstance(m, SiteLayer)):
        weights = generated(layer, layer.operations(cond))  # (conditions, *static weight)
        if weights is not None:
            products = gram(weights)  # (conditions, conditions)
            grid = products.view(len(TIMES), count, len(TIMES), count)
            by_site.setdefault(layer.site, []).append(
                (
                    layer.weight.norm().item(),
                    products.diagonal().sqrt().mean().item(),
                    spread(grid.diagonal(dim1=0, dim2=2)),
                    spread(grid.diagonal(dim1=1, dim2=3)),
                    effective_rank(products),
                )
            )
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


def _means(layers: list[tuple[float, ...]]) -> dict[str, float | None]:
    static, size, over_class, over_time, rank = torch.tensor(layers, dtype=torch.float64).mean(0)
    relative = {"spread_class": over_class / static, "spread_time": over_time / static}
    named = {"static": static, "generated": size, **relative, "effective_rank": rank}
    return {
        name: None if name in relative and static == 0 else round(value.item(), 6)
        for name, value in named.items()
    }


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
