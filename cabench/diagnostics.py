"""What the weight generators make: norms of generated weights beside those of the static ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cabench.models.sites import SiteLayer

TIMES = (50.0, 275.0, 500.0, 725.0, 950.0)  # of 1000
CLASSES = 16  # at most, evenly spread


@torch.no_grad()
def weight_norms(model: nn.Module, classes: dict[str, int], device: str) -> dict[str, Any]:
    """By kind of site: Frobenius norms {static, generated, layers}; only sites with generators.

    `static` is the mean over the kind's layers, `generated` that over layers and conditions: every
    class (of each stream at once, at most CLASSES) at each of TIMES.
    """
    count = min(CLASSES, max(classes.values(), default=1))
    t = torch.tensor(TIMES, device=device).repeat_interleave(count)
    place = torch.arange(count, device=device).repeat(len(TIMES))
    streams = {name: place * size // count for name, size in classes.items()}
    given = model.given(t, streams, None)
    found: dict[str, list[tuple[float, float]]] = {}
    for layer in (m for m in model.backbone.modules() if isinstance(m, SiteLayer)):
        deltas = [d for o in layer.operations(given) if (d := o.weight(layer.weight)) is not None]
        if deltas:
            generated = sum(deltas).flatten(1).norm(dim=1).mean().item()
            static = layer.weight.norm().item()
            found.setdefault(layer.site, []).append((static, generated))
    return {
        kind: {
            "static": round(sum(s for s, _ in norms) / len(norms), 6),
            "generated": round(sum(g for _, g in norms) / len(norms), 6),
            "layers": len(norms),
        }
        for kind, norms in found.items()
    }
