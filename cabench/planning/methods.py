"""An arm's methods and options: validated, with their sources, and fit for the backbone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from pydantic import ValidationError, create_model

from cabench.config.schema import Arm, Embedder, Profile
from cabench.errors import ConfigError, Where, listed, near, shown, unknown
from cabench.models import embedding as condition
from cabench.models.conditioning.base import MethodOptions
from cabench.planning.data import TextRef
from cabench.registry import BACKBONES, METHODS
from cabench.runtime.validation import first_fault, validate
from cabench.text import STREAM

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


def backbone_options(arm: Arm, where: Where, name: str) -> dict[str, Any]:
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


def check_fit(arm: Arm, where: Where, methods: Methods, name: str) -> None:
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


def replaces_affine(methods: Methods) -> bool:
    """Does a norm modulator replace the norms' learned affine?"""
    kinds = [METHODS.get(kind) for kind, _ in methods]
    return any("norm" in kind.hooks and kind.replaces_affine for kind in kinds)
