"""A backbone, the condition embedder and a list of methods, built from a spec."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from cabench.models import backbones as _backbones  # noqa: F401  (registers)
from cabench.models import conditioning as _conditioning  # noqa: F401  (registers)
from cabench.models.conditioning.base import Method
from cabench.models.embedding import Cache, ConditionEmbedder
from cabench.models.init import initialise
from cabench.models.operations import Conditioning
from cabench.models.sites import Layout, address_layers
from cabench.models.streams import Streams, take
from cabench.records.spec import ModelSpec
from cabench.registry import BACKBONES, METHODS


class ConditionalModel(nn.Module):
    """x (B, C, H, W), t (B,) in [0, 1000), streams, drop (B,) or None -> (B, C, H, W).

    With `index` (B,), t, streams and drop describe K distinct conditions, and sample i has the
    condition index[i]: what depends on the condition only is computed K times.

    `cache` is a dictionary for one sampling trajectory: all rows share a timestep, and the other
    streams are those of the previous call, so what depends on these only is computed once.

    `penalties` is a list that gets what the methods add to the loss in training.
    """

    def __init__(self, backbone: nn.Module, embedder: ConditionEmbedder, methods: nn.ModuleDict):
        super().__init__()
        self.backbone = backbone
        self.embedder = embedder
        self.methods = methods

    def condition(
        self, t: Tensor, streams: Streams, drop: Tensor | None, cache: Cache | None = None
    ) -> Conditioning:
        """Everything that the methods generate for this batch, once per forward pass."""
        cond = Conditioning()
        if self.methods:
            embedded = self.embedder(t, streams, drop, cache)
            for method in self.methods.values():
                cond.update(method(embedded))
        return cond

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        streams: Streams,
        drop: Tensor | None = None,
        index: Tensor | None = None,
        cache: Cache | None = None,
        penalties: list[Tensor] | None = None,
    ) -> Tensor:
        if index is None:
            cond = self.condition(t, streams, drop)
            if penalties is not None:
                penalties.extend(penalty() for penalty in cond.penalties)
            return self.backbone(x, cond)
        if all(method.distinct for method in self.methods.values()):
            return self.backbone(x, self.condition(t, streams, drop, cache).take(index))
        drop = None if drop is None else drop[index]
        return self.backbone(x, self.condition(t[index], take(streams, index, x.device), drop))


def build_backbone(spec: ModelSpec) -> tuple[nn.Module, Layout]:
    """The backbone of a model spec, and what it offers to methods."""
    backbone = BACKBONES.get(spec.backbone.kind)(**spec.backbone.arguments)
    return backbone, replace(address_layers(backbone), maps=spec.embedder.maps or {})


def build(spec: ModelSpec) -> ConditionalModel:
    """The model of a spec; its parameters are not initialised."""
    return attach(spec, *build_backbone(spec))


def attach(spec: ModelSpec, backbone: nn.Module, layout: Layout) -> ConditionalModel:
    """The model of a spec around a backbone that `build_backbone` returned."""
    kinds: list[type[Method]] = [METHODS.get(method.kind) for method in spec.methods]
    options = [
        kind.Options.model_validate(method.options)
        for kind, method in zip(kinds, spec.methods, strict=True)
    ]
    embedder = ConditionEmbedder(
        **spec.embedder.model_dump(exclude={"version"}, exclude_unset=True),
        used={stream for o in options for stream in o.streams},
    )
    methods = nn.ModuleDict()
    for kind, o in zip(kinds, options, strict=True):
        name, repeats = kind.name, 1
        while name in methods:
            repeats += 1
            name = f"{kind.name}_{repeats}"
        methods[name] = kind(o, layout, spec.embedder.width)
    return ConditionalModel(backbone, embedder, methods)


def build_initialised(spec: ModelSpec, seed: int, salt: str = "") -> ConditionalModel:
    """The model of a spec with its initial values."""
    model = build(spec)
    initialise(model, seed, salt)
    return model


def build_meta(spec: ModelSpec) -> ConditionalModel:
    """The model on the meta device: shapes without memory, for counting."""
    with torch.device("meta"):
        return build(spec)
