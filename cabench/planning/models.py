"""Arms -> model specs with every size and version. Each model is built once, on the meta device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

import torch
from pydantic import ValidationError, create_model

from cabench.config.scale import Scale
from cabench.config.schema import Arm, Embedder, Match, Profile, Study
from cabench.cost.macs import count_parameters, total_macs
from cabench.errors import (
    CabenchError,
    ConfigError,
    Where,
    cut,
    describe,
    listed,
    near,
    shown,
    unknown,
)
from cabench.models import embedding as condition
from cabench.models.conditioning.base import MethodOptions
from cabench.models.embedding import embedder_options
from cabench.models.model import attach, build_backbone
from cabench.planning.data import DataRef, TextRef
from cabench.records.schema import Params
from cabench.records.spec import ModelSpec
from cabench.registry import BACKBONES, METHODS, versioned
from cabench.runtime.files import content_key
from cabench.runtime.validation import first_fault, validate
from cabench.text import STREAM

MATCH_TOLERANCE = 0.03  # relative difference of parameters or MACs
WIDENINGS = 3  # steps towards the width that has the MACs
FFN_SIZES = ("ffn_hidden", "ffn_ratio")  # a backbone has one of them

Methods = list[tuple[str, MethodOptions]]  # name and validated options


@dataclass(frozen=True)
class Network:
    """What all arms of a study share: a backbone at one size, and the data it sees."""

    # fmt: off
    backbone: str
    preset: str
    patch: int
    shape: tuple[int, int, int]               # C, H, W of an image or latent
    classes: Mapping[str, int]                # stream -> number of classes
    needs: Sequence[str]                      # streams of the study, without the timestep
    profile: Profile = "uniform"
    embedder: Embedder | None = None          # None: the profile's
    text: TextRef | None = None               # encoder of the stream `text`
    vectors: Mapping[str, int] = field(default_factory=dict)  # stream -> how many numbers
    maps: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)  # stream -> C, H, W
    widening: float = 1.0                     # of the preset's width
    # fmt: on


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
    _check_fit(arm, where, methods, network.backbone)
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
    sizes |= _backbone_options(arm, where, network.backbone)
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
            "norm_affine": not _replaces_affine(methods),
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


# ---- methods ------------------------------------------------------------------------------------


def arm_methods(arm: Arm, where: Where, network: Network) -> Methods:
    """The arm's methods with validated options; `native` becomes the backbone's own methods."""
    methods: Methods = []
    as_published = (arm.profile or network.profile) == "as_published"
    for i, entry in enumerate(arm.methods):
        here = (*where, "methods", i)
        for one in BACKBONES.get(network.backbone).native if entry == "native" else [entry]:
            methods.append(_method(one, here, network, as_published))
    return methods


def _method(
    entry: str | Mapping[str, dict[str, Any] | None],
    where: Where,
    network: Network,
    as_published: bool,
) -> tuple[str, MethodOptions]:
    if isinstance(entry, str):
        kind, written = entry, {}
    elif len(entry) != 1:
        text = f"expected a method's name, or one name with its options, got {listed(entry)}"
        raise ConfigError("study", where, text)
    else:
        kind, options = next(iter(entry.items()))
        written = options or {}
    if kind == "native":
        raise ConfigError("study", (*where, kind), "expected the name alone: it takes no options")
    if kind not in METHODS:
        text = unknown("method", kind, ["native", *METHODS.names()])
        raise ConfigError("study", where, text)
    model = METHODS.get(kind).Options
    defaults = METHODS.get(kind).published if as_published else {}
    try:
        validated = validate(model, {**defaults, **written})
    except ValidationError as error:
        inner, text = first_fault(error, model, written)
        raise ConfigError("study", (*where, kind, *inner), text) from None
    if not validated.takes_source:
        return kind, validated
    try:
        validated.source = source_streams(validated.source, network.needs, network.maps)
        _check_kind(validated, network.maps)
    except ValueError as error:
        raise ConfigError("study", (*where, kind, "source"), str(error)) from None
    return kind, validated


def _backbone_options(arm: Arm, where: Where, name: str) -> dict[str, Any]:
    """The arm's further options of the backbone, validated by its constructor's annotations."""
    backbone, options = BACKBONES.get(name), {}
    allowed = getattr(backbone, "options", ())
    for key, value in arm.backbone.items():
        here = (*where, "backbone", key)
        if key not in allowed:
            raise ConfigError("study", here, unknown(f"option of {name}", key, allowed))
        annotation = get_type_hints(backbone.__init__)[key]
        model = create_model("Option", **{key: (annotation, ...)})  # pyright: ignore
        try:
            options[key] = getattr(model.model_validate({key: value}, strict=True), key)
        except ValidationError as error:
            raise ConfigError("study", here, first_fault(error, model, {key: value})[1]) from None
    return options


def source_streams(
    source: str | list[str], needs: Sequence[str], maps: Collection[str] = ()
) -> list[str]:
    """The streams of a source, the timestep first; ValueError names what is allowed.

    'both' is the timestep and the label. In a study without a label it is the timestep and the
    text, or else the first stream that the study needs and that is no map, if there is one. 'maps'
    are all maps that it needs.
    """
    streams = [condition.TIMESTEP, *needs]
    others = [name for name in needs if name not in maps] or ([] if maps else ["label"])
    other = next((name for name in ("label", STREAM) if name in needs), None)
    together = {
        "both": [condition.TIMESTEP, *([other] if other else others[:1])],
        **({} if "maps" in needs else {"maps": [name for name in needs if name in maps]}),
    }
    if source == "maps" and together.get("maps") == []:
        raise ValueError(f"the study needs no map; it needs {listed(needs)}")
    names = together.get(source, [source]) if isinstance(source, str) else list(source)
    for name in names:
        if name not in streams:
            allowed = ["both", *(["maps"] if maps else []), *streams]
            hint = f"{near(name, allowed)}; allowed: {listed(allowed)}"
            raise ValueError(f"no stream {shown(name)}{hint}")
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"expected a set of streams, got [{', '.join(names)}]")
    return sorted(names, key=streams.index)


def _check_kind(options: MethodOptions, maps: Collection[str]) -> None:
    """ValueError if a method's source has maps that it cannot take, or streams that are no maps."""
    for name in options.streams:
        if name in maps and not options.takes_maps:
            takers = [kind for kind in METHODS.names() if METHODS.get(kind).Options.takes_maps]
            text = f"'{name}' is a map of the image's size, which has no vector or tokens for this"
            raise ValueError(f"{text} method; methods that take maps: {listed(takers)}")
        if options.takes_maps and name not in maps:
            raise ValueError(f"expected maps, got '{name}'; maps: {listed(maps) or 'none'}")


def _check_fit(arm: Arm, where: Where, methods: Methods, name: str) -> None:
    """Refuses unknown sites and hooks, and two methods that need the same hook."""
    backbone = BACKBONES.get(name)
    taken: dict[str, str] = {}
    for i, (kind, options) in enumerate(methods):
        here = (*where, "methods", min(i, len(arm.methods) - 1))
        method = METHODS.get(kind)
        for site in method.sites(options, backbone.sites):
            if site not in backbone.sites:
                raise ConfigError("study", here, unknown(f"{name} site", site, backbone.sites))
        for hook in method.hooks:
            if hook not in backbone.hooks:
                text = unknown(f"{name} hook", hook, backbone.hooks)
                raise ConfigError("study", here, f"'{kind}': {text}")
            if hook in taken:
                text = f"'{kind}' and '{taken[hook]}' both need the hook '{hook}'"
                raise ConfigError("study", here, f"{text}; only one method can use it")
            taken[hook] = kind
    if arm.gate == "static" and "norm" in taken and METHODS.get(taken["norm"]).gated:
        text = f"'{taken['norm']}' has its own gate"
        raise ConfigError("study", (*where, "gate"), text)


def _replaces_affine(methods: Methods) -> bool:
    """Does a norm modulator replace the norms' learned affine?"""
    kinds = [METHODS.get(kind) for kind, _ in methods]
    return any("norm" in kind.hooks and kind.replaces_affine for kind in kinds)
