"""Arms -> model specs with every size and version. Each model is built once, on the meta device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from cabench.config.scale import Scale
from cabench.config.schema import Arm, Match, Study
from cabench.cost.macs import count_parameters, total_macs
from cabench.errors import (
    CabenchError,
    ConfigError,
    Where,
    cut,
    describe,
)
from cabench.models import embedding as condition
from cabench.models.embedding import embedder_options
from cabench.models.model import attach, build_backbone
from cabench.planning.data import DataRef
from cabench.planning.methods import (
    Methods,
    Network,
    arm_methods,
    backbone_options,
    check_fit,
    replaces_affine,
)
from cabench.records.schema import Params
from cabench.records.spec import ModelSpec
from cabench.registry import BACKBONES, METHODS, versioned
from cabench.runtime.files import content_key
from cabench.text import STREAM

MATCH_TOLERANCE = 0.03  # relative difference of parameters or MACs
WIDENINGS = 3  # steps towards the width that has the MACs
FFN_SIZES = ("ffn_hidden", "ffn_ratio")  # a backbone has one of them


@dataclass(frozen=True)
class ResolvedModel:
    """The model of an arm, as it was built once on the meta device."""

    # fmt: off
    spec: ModelSpec
    parameters: Params
    narrowed: bool = False      # the scale gave its generators a bottleneck
    # fmt: on


def network_of(study: Study, scale: Scale, backbone: str, data: DataRef) -> Network:
    """The network of a study at a scale; raises a ConfigError where the patch does not fit."""
    choice = scale.backbones[backbone]
    if problem := BACKBONES.get(backbone).problem(data.shape, choice.patch):
        # where it is written: at the data source, or at the backbone
        places = [i for i, one in enumerate(scale.data) if one.patch == choice.patch]
        where = ("data", places[0], "patch") if places else ("backbones", backbone, "patch")
        raise ConfigError("scale", where, problem)
    return Network(
        backbone=backbone,
        preset=choice.preset,
        patch=choice.patch,
        shape=data.shape,
        classes=data.classes,
        needs=study.needs,
        profile=study.profile,
        embedder=study.embedder,
        text=data.text,
        vectors=data.vectors,
        maps=data.maps,
        widening=choice.widening,
    )


def resolve_models(
    arms: Mapping[str, Arm],
    network: Network | Mapping[str, Network],  # of all arms, or of each
    max_params: int | None = None,
    bottleneck: int | None = None,
) -> dict[str, ResolvedModel]:
    """The model of every arm, with sizes matched.

    Arms with more than `max_params` parameters get generators of rank `bottleneck`, if given.
    Raises a ConfigError about the study where a method does not exist, clashes or does not fit.
    """
    networks = dict.fromkeys(arms, network) if isinstance(network, Network) else network
    models: dict[str, ResolvedModel] = {}
    for name in sorted(arms, key=lambda name: arms[name].match is not None):  # targets first
        arm, where = arms[name], ("arms", name)
        with _failures_at(where):
            if arm.match is not None and arm.match.macs_of is not None:
                target = total_macs(models[arm.match.macs_of].spec) * arm.match.times
                at = partial(_at_macs, arm, where, networks[name], target)
                models[name] = at()
                if bottleneck and max_params and models[name].parameters.total > max_params:
                    models[name] = at(rank=bottleneck)
                continue
            draft = _draft(arm, where, networks[name])
            if arm.match is not None:
                target = models[arm.match.arm].parameters.total
                models[name] = _matched(draft, arm.match, target)
                continue
            models[name] = _resolved(draft)
            if bottleneck and max_params and models[name].parameters.total > max_params:
                models[name] = _narrowed(draft, bottleneck) or models[name]
    return {name: models[name] for name in arms}


@contextmanager
def _failures_at(where: Where) -> Iterator[None]:
    """Turns an unexpected error of a method or backbone into a ConfigError that names the arm."""
    try:
        yield
    except CabenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plugin's code raises
        text = f"cannot build the model: {cut(describe(error), 300)}"
        raise ConfigError("study", where, text) from None


# ---- one arm ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draft:
    """A model whose sizes may still change."""

    # fmt: off
    where: Where                # of its arm in the study
    backbone: dict[str, Any]    # as in ModelSpec
    embedder: dict[str, Any]    # as in ModelSpec
    text_tokens: int | None
    methods: Methods
    # fmt: on

    @property
    def spec(self) -> ModelSpec:
        text = {} if self.text_tokens is None else {"text_tokens": self.text_tokens}
        methods = [
            {
                "kind": kind,
                **versioned(METHODS.get(kind)),
                "options": options.model_dump(mode="json"),
            }
            for kind, options in self.methods
        ]
        return ModelSpec.model_validate(
            {"backbone": self.backbone, "embedder": self.embedder, **text, "methods": methods}
        )

    def with_size(self, by: str, size: int) -> _Draft | None:
        """This draft with one free size set; None if it has no such size."""
        if by in self.backbone:
            return dataclasses.replace(self, backbone=self.backbone | {by: size})
        methods = [(kind, options.model_copy()) for kind, options in self.methods]
        changed = [options.set_size(by, size) for _, options in methods]
        return dataclasses.replace(self, methods=methods) if any(changed) else None


def _draft(arm: Arm, where: Where, network: Network, widening: float = 1.0) -> _Draft:
    backbone = BACKBONES.get(network.backbone)
    methods = arm_methods(arm, where, network)
    check_fit(arm, where, methods, network.backbone)
    sites = {site for kind, o in methods for site in METHODS.get(kind).sites(o, backbone.sites)}
    profile = arm.profile or network.profile
    sizes = backbone.sizes(network.preset, network.patch)
    if (factor := network.widening * widening) != 1:
        if not hasattr(backbone, "widened"):
            text = f"backbone '{network.backbone}' has no other widths"
            raise ConfigError("scale", ("backbones", network.backbone, "widening"), text)
        sizes |= backbone.widened(sizes, factor)
    if profile == "uniform":
        sizes |= getattr(backbone, "uniform", lambda sizes: {})(sizes)
    sizes |= backbone_options(arm, where, network.backbone)
    always = getattr(backbone, "own_depthwise", False)
    width = backbone.condition_width(sizes)
    form = arm.embedder or network.embedder or ("native" if profile != "uniform" else "shared")
    streams = (*network.classes, *([STREAM] if network.text else ()), *network.vectors)
    return _Draft(
        where=where,
        backbone={
            "kind": network.backbone,
            **versioned(backbone),
            "shape": network.shape,
            **sizes,
            "depthwise": arm.depthwise == "static" or "depthwise" in sites or always,
            "norm_affine": not replaces_affine(methods),
            "static_gate": arm.gate == "static",
        },
        embedder={
            "version": condition.VERSION,
            **embedder_options(form, width, streams, backbone),
            "width": width,
            "classes": dict(network.classes),
            **({"text": {STREAM: network.text.width}} if network.text else {}),
            **({"vectors": dict(network.vectors)} if network.vectors else {}),
            **({"maps": dict(network.maps)} if network.maps else {}),
        },
        text_tokens=network.text.tokens if network.text else None,
        methods=methods,
    )


def _resolved(draft: _Draft, narrowed: bool = False) -> ResolvedModel:
    """Builds the model on the meta device; raises a ConfigError where a method does not fit."""
    spec = draft.spec
    content_key(spec.dump())  # fails where options are no JSON
    with torch.device("meta"):
        backbone, layout = build_backbone(spec)
        for kind, options in draft.methods:
            problem = options.problem()
            if refusal := METHODS.get(kind).refuses(options, layout):
                problem = problem or f"{kind}: {refusal}"
            if problem:
                raise ConfigError("study", draft.where, problem)
        model = attach(spec, backbone, layout)
    return ResolvedModel(spec, count_parameters(model), narrowed)


def _narrowed(draft: _Draft, rank: int) -> ResolvedModel | None:
    """The model with bottleneck generators; None if no method has a generator to narrow."""
    narrow = _with_rank(draft, rank)
    return None if narrow is draft else _resolved(narrow, narrowed=True)


def _with_rank(draft: _Draft, rank: int | None) -> _Draft:
    """The draft with bottleneck generators; itself if no method has a generator to narrow."""
    methods = [(kind, options.model_copy()) for kind, options in draft.methods]
    if rank is None or not any([options.narrow(rank) for _, options in methods]):
        return draft
    return dataclasses.replace(draft, methods=methods)


def _matched(draft: _Draft, match: Match, target: int) -> ResolvedModel:
    """The model whose free size brings it closest to `target` parameters."""

    def at(size: int) -> ResolvedModel:
        sized = draft.with_size(match.by, size)
        if sized is None:
            text = f"the arm has no free size '{match.by}'"
            raise ConfigError("study", (*draft.where, "match", "by"), text)
        return _resolved(sized)

    one, two = (at(size).parameters.total for size in (1, 2))  # the count is linear in the size
    model = at(max(1, 1 + round((target - one) / (two - one))))
    total = model.parameters.total
    if abs(total / target - 1) > MATCH_TOLERANCE:
        text = f"cannot reach {target:,} parameters; the closest size has {total:,}"
        raise ConfigError("study", (*draft.where, "match"), text)
    return model


def _at_macs(
    arm: Arm, where: Where, network: Network, target: float, rank: int | None = None
) -> ResolvedModel:
    """The model of the width with the nearest MACs, then with an FFN that reaches `target`.

    MACs are nearly quadratic in the width, and linear in the channels of the FFN. Generators are
    bottlenecks of `rank`, if given.
    """
    if not hasattr(BACKBONES.get(network.backbone), "widened"):
        text = f"backbone '{network.backbone}' has no widths to choose from"
        raise ConfigError("study", (*where, "match", "by"), text)

    widening = 1.0
    for _ in range(WIDENINGS):
        draft = _with_rank(_draft(arm, where, network, widening), rank)
        widening *= math.sqrt(target / total_macs(draft.spec))
    draft = _with_rank(_draft(arm, where, network, widening), rank)
    size = next(name for name in FFN_SIZES if name in draft.backbone)
    start = draft.backbone[size]

    def at(value: float) -> _Draft:
        rounded = round(value) if size == "ffn_hidden" else round(value, 4)
        return dataclasses.replace(draft, backbone=draft.backbone | {size: rounded})

    one, two = (total_macs(at(value).spec) for value in (start, 2 * start))
    channels = start * (1 + (target - one) / (two - one))
    if channels < start / 4:
        text = f"cannot reach {target:,.0f} MACs: a narrow model has {one:,}"
        raise ConfigError("study", (*where, "match"), text)
    model = at(channels)
    if abs((total := total_macs(model.spec)) / target - 1) > MATCH_TOLERANCE:
        text = f"cannot reach {target:,.0f} MACs; the closest size has {total:,}"
        raise ConfigError("study", (*where, "match"), text)
    return _resolved(model, narrowed=rank is not None)
