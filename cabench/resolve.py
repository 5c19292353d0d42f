"""Arms -> model specs: plain data with every size and version. What does not fit is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cabench import metrics
from cabench.cost.macs import parameter_counts
from cabench.data import Dataset, load_dataset, options_model
from cabench.data.dataset import UNSEEN
from cabench.errors import CabenchError, DataMissing, cut, describe, shown
from cabench.faults import first_fault, validate
from cabench.metrics.clip import Clip
from cabench.models import condition
from cabench.models.conditioning.base import MethodOptions
from cabench.models.model import layout_of
from cabench.models.sites import Layout
from cabench.registry import (
    BACKBONES,
    DATASETS,
    METHODS,
    TEXT_ENCODERS,
    listed,
    near,
    versioned,
)
from cabench.schema import DataChoice, Scale
from cabench.store import content_key
from cabench.study import StudyFile, scale_fault, unknown
from cabench.text import STREAM, TOKENS, distinct_texts, encoder

MATCH_TOLERANCE = 0.03


@dataclass(frozen=True)
class TextRef:
    """Who encodes the stream `text`, and what its features are like."""

    encoder: str
    path: str | None
    version: dict[str, Any]  # and the hash of a plugin
    fingerprint: str | None  # None: the encoder or the data is absent
    width: int
    tokens: int  # to which every text is padded

    @property
    def spec(self) -> dict[str, Any]:
        """What of it decides the numbers, for keys."""
        return {
            "encoder": self.encoder, **self.version, "fingerprint": self.fingerprint,
            "tokens": self.tokens,
        }  # fmt: skip


@dataclass(frozen=True)
class DataRef:
    """The data of a study at a scale: what trials need to know of it before they load it."""

    source: str
    options: dict[str, Any]
    fingerprint: str | None  # None: the data is absent
    shape: tuple[int, int, int]
    classes: dict[str, int]  # of the streams the study needs
    names: dict[str, list[str]]  # of the classes; empty while the data is absent
    flip: bool
    missing: str = ""  # why it is absent, and how to get it
    judges: dict[str, str] = dataclasses.field(default_factory=dict)  # beside the default: hashes
    vae: dict[str, Any] | None = None  # of latents: the hash of its weights, scale, shift
    text: TextRef | None = None  # of a study that needs text
    unseen: int = 0  # samples told conditions of the split `unseen`
    clip: dict[str, Any] | None = None  # of metric clip_score: what decides it


def choose_data(file: StudyFile, scale: Scale) -> int:
    """The place, in the scale's list, of the first data source that carries what is needed."""
    needs = set(file.study.needs)
    for i, choice in enumerate(scale.data):
        if needs <= set(choice.streams):
            return i
    offered = listed(f"{c.source}: {listed(c.streams)}" for c in scale.data)
    asked = listed(sorted(needs))
    raise file.fault(("needs",), f"scale '{scale.scale}' has no data with {asked} ({offered})")


def on_data(scale: Scale, place: int) -> Scale:
    """The scale as it is on its data source at `place`: with what that says in its place."""
    choice = scale.data[place]
    changed = {}
    for name in ("training", "sampling", "heldout"):
        told = getattr(choice, name).model_dump(exclude_none=True)
        if told:
            changed[name] = getattr(scale, name).model_copy(update=told)
    if "heldout" in changed and changed["heldout"].bins > changed["heldout"].images:
        text = f"{changed['heldout'].bins} bins need at least as many images"
        raise scale_fault(scale, ("data", place, "heldout"), text)
    if choice.metrics is not None:
        changed["metrics"] = choice.metrics
    if choice.patch is not None:
        changed["backbones"] = {
            name: backbone.model_copy(update={"patch": choice.patch})
            for name, backbone in scale.backbones.items()
        }
    return scale.model_copy(update=changed)


def _key(scale: Scale, place: int, part: str, name: str) -> tuple[Any, ...]:
    """Where a number stands: at the data source, if that says it, else in the scale."""
    here = getattr(getattr(scale.data[place], part), name) is not None
    return ("data", place, part, name) if here else (part, name)


def _find_text(
    choice: DataChoice, where: tuple[Any, ...], scale: Scale, found: Dataset | None
) -> tuple[TextRef, str]:
    """The encoder, and why it is absent ('' when it isn't)."""
    told = choice.text
    if told is None:
        text = f"stream '{STREAM}' needs an encoder: text: {{encoder: NAME}}"
        raise scale_fault(scale, where, f"{text}; known: {listed(TEXT_ENCODERS.names())}")
    if told.encoder not in TEXT_ENCODERS:
        text = unknown("text encoder", told.encoder, TEXT_ENCODERS.names())
        raise scale_fault(scale, (*where, "text", "encoder"), text)
    version = versioned(TEXT_ENCODERS.get(told.encoder))
    absent = TextRef(told.encoder, told.path, version, None, told.width or 0, TOKENS)
    try:
        made = encoder(told.encoder, told.path)
        if found is None:
            return dataclasses.replace(absent, width=told.width or made.width), ""
        ids = made.ids(distinct_texts(found))
        ref = TextRef(
            told.encoder, told.path, version, made.fingerprint, made.width, max(map(len, ids))
        )
    except DataMissing as error:
        if told.width is None:
            raise DataMissing(scale_fault(scale, (*where, "text"), str(error))) from None
        return absent, str(error)
    if told.width not in (None, ref.width):
        text = f"found {told.width}; the features of '{told.encoder}' have {ref.width}"
        raise scale_fault(scale, (*where, "text", "width"), text)
    return ref, ""


def _find_clip(scale: Scale) -> tuple[dict[str, Any] | None, str]:
    """What decides the CLIP score, and why its weights are absent ('' when they aren't)."""
    if scale.clip is None:
        text = "clip_score needs a CLIP: clip: {path: FOLDER or a name on the hub}"
        raise scale_fault(scale, ("metrics",), text)
    try:
        return Clip(scale.clip.path, scale.clip.template).spec, ""
    except DataMissing as error:
        return None, scale_fault(scale, ("clip", "path"), str(error)).args[0]


def _check_source(choice: DataChoice, where: tuple[Any, ...], scale: Scale) -> None:
    if choice.source not in DATASETS:
        text = unknown("data set", choice.source, DATASETS.names())
        raise scale_fault(scale, (*where, "source"), text)
    model = options_model(choice.source)
    try:
        validate(model, choice.options)
    except ValidationError as error:
        inner, text = first_fault(error, model, choice.options)
        raise scale_fault(scale, (*where, "options", *inner), text) from None


def find_data(file: StudyFile, scale: Scale) -> DataRef:
    """Loads the data to know its fingerprint; absent data is described from the scale."""
    place = choose_data(file, scale)
    needs = [name for name in file.study.needs if name != STREAM]
    told = STREAM in file.study.needs
    choice, where = scale.data[place], ("data", place)
    _check_source(choice, where, scale)
    try:
        found = load_dataset(choice.source, **choice.options)
    except DataMissing as error:
        if choice.shape is None or choice.classes is None:
            raise DataMissing(scale_fault(scale, where, str(error))) from None
        absent = [name for name in needs if name not in choice.classes]
        if absent:
            text = f"it says nothing of {listed(absent)}"
            raise scale_fault(scale, (*where, "classes"), text) from None
        classes = {name: choice.classes[name] for name in needs}
        return DataRef(
            choice.source, choice.options, None, choice.shape, classes, {},
            bool(choice.options.get("flip", False)), str(error),
            text=_find_text(choice, where, scale, None)[0] if told else None,
        )  # fmt: skip
    except CabenchError as error:
        raise scale_fault(scale, where, str(error)) from None
    for name in needs:
        if name not in found.classes:
            text = f"data '{choice.source}' has no stream {name!r}; it has {listed(found.classes)}"
            raise scale_fault(scale, (*where, "streams"), text)
        if len(found.classes[name]) < 2:
            text = f"{name!r} has one class, {listed(found.classes[name])}; a condition needs two"
            raise scale_fault(scale, where, text)
    classes = {name: len(found.classes[name]) for name in needs}
    if told and STREAM not in found.split("report").texts:
        text = f"data '{choice.source}' has no text for the stream '{STREAM}'"
        raise scale_fault(scale, (*where, "streams"), text)
    text, missing = _find_text(choice, where, scale, found) if told else (None, "")
    try:  # making a scorer is cheap, and refuses more samples than real pictures can judge
        chosen = metrics.needing("samples", scale.metrics)
        key = _key(scale, place, "sampling", "n")
        metrics.SampleScorer(found, scale.sampling.n, Path(), metrics=chosen)
        if choice.unseen is not None:
            key = (*where, "unseen")
            metrics.SampleScorer(found, choice.unseen, Path(), metrics=chosen, reference=UNSEEN)
    except CabenchError as error:
        raise scale_fault(scale, key, str(error)) from None
    clip, absent = _find_clip(scale) if "clip_score" in scale.metrics else (None, "")
    try:
        judges, unjudged = metrics.judges_of(scale.metrics), ""
    except DataMissing as error:
        judges, unjudged = {}, str(scale_fault(scale, ("metrics",), str(error)))
    most = len(found.split("report"))
    if scale.heldout.images > most:
        text = f"found {scale.heldout.images}; the report split of '{choice.source}' has {most}"
        raise scale_fault(scale, _key(scale, place, "heldout", "images"), text)
    return DataRef(
        choice.source, choice.options, found.fingerprint, tuple(found.inputs), classes,
        {name: found.classes[name] for name in dict.fromkeys([*needs, "label"])}, found.flip,
        missing or absent or unjudged, judges=judges, text=text, unseen=choice.unseen or 0,
        clip=clip,
        vae=found.vae and {k: v for k, v in found.vae.items() if k != "path"},
    )  # fmt: skip


def source_streams(source: str | list[str], needs: list[str]) -> list[str]:
    """A stream -> itself; ValueError names what is allowed.

    'both' -> the timestep and the label; where a study needs no label, the text, else its first.
    """
    streams = [condition.TIMESTEP, *needs]
    other = next((name for name in ("label", STREAM) if name in needs), next(iter(needs), "label"))
    asked = [condition.TIMESTEP, other] if source == "both" else source
    asked = [asked] if isinstance(asked, str) else list(asked)
    for name in asked:
        if name not in streams:
            allowed = ["both", *streams]
            raise ValueError(
                f"no stream {shown(name)}{near(name, allowed)}; allowed: {listed(allowed)}"
            )
    if len(set(asked)) != len(asked) or not asked:
        raise ValueError(f"a source is a set of streams; found [{', '.join(asked)}]")
    return sorted(asked, key=streams.index)


def method_entries(file: StudyFile, arm_name: str) -> list[tuple[str, MethodOptions]]:
    """The arm's methods with checked options; `native` is spelt out."""
    backbone = BACKBONES.get(file.backbone)
    entries = []
    for i, written in enumerate(file.study.arms[arm_name].methods):
        where = ("arms", arm_name, "methods", i)
        for entry in backbone.native if written == "native" else [written]:
            if isinstance(entry, dict) and len(entry) != 1:
                text = f"a method is a name, or one name with its options; found {listed(entry)}"
                raise file.fault(where, text)
            kind, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
            if kind == "native":
                raise file.fault((*where, kind), "it takes no options; write it as a name alone")
            if kind not in METHODS:
                raise file.fault(where, unknown("method", kind, ["native", *METHODS.names()]))
            model = METHODS.get(kind).Options
            try:
                checked = validate(model, options or {})
            except ValidationError as error:
                inner, text = first_fault(error, model, options or {})
                raise file.fault((*where, kind, *inner), text) from None
            try:
                checked.source = source_streams(checked.source, file.study.needs)
            except ValueError as error:
                raise file.fault((*where, kind, "source"), str(error)) from None
            entries.append((kind, checked))
    return entries


def _check_fit(file: StudyFile, arm_name: str, entries: list[tuple[str, MethodOptions]]) -> None:
    """Refuses what clashes or doesn't fit."""
    name = file.backbone
    backbone = BACKBONES.get(name)
    taken: dict[str, str] = {}
    for i, (kind, options) in enumerate(entries):
        where = ("arms", arm_name, "methods", min(i, len(file.study.arms[arm_name].methods) - 1))
        method = METHODS.get(kind)
        for site in method.sites(options, backbone.sites):
            if site not in backbone.sites:
                raise file.fault(where, unknown(f"{name} site", site, backbone.sites))
        for hook in method.hooks:
            if hook not in backbone.hooks:
                text = unknown(f"{name} hook", hook, backbone.hooks)
                raise file.fault(where, f"'{kind}': {text}")
            if hook in taken:
                raise file.fault(
                    where, f"'{kind}' and '{taken[hook]}' both want the hook '{hook}'; it holds one"
                )
            taken[hook] = kind
    modulator = METHODS.get(taken["norm"]) if "norm" in taken else None
    if modulator is not None and modulator.gated and file.study.arms[arm_name].gate == "static":
        raise file.fault(("arms", arm_name, "gate"), f"'{taken['norm']}' brings its own gate")


def _replaces_affine(entries: list[tuple[str, MethodOptions]]) -> bool:
    """Is there a norm modulator in the place of the norms' learned affine?"""
    methods = [METHODS.get(kind) for kind, _ in entries]
    return any("norm" in m.hooks and m.replaces_affine for m in methods)


def resolve_model(file: StudyFile, scale: Scale, data: DataRef, arm_name: str) -> dict[str, Any]:
    """The arm's whole model as plain data: what `models.model.build` needs, and all versions."""
    study, arm = file.study, file.study.arms[arm_name]
    name = file.backbone
    backbone = BACKBONES.get(name)
    if name not in scale.backbones:
        text = f"it says nothing of the backbone '{name}'; it has {listed(scale.backbones)}"
        raise scale_fault(scale, ("backbones",), text)
    choice = scale.backbones[name]
    if choice.preset not in backbone.presets:
        text = unknown("preset", choice.preset, backbone.presets)
        raise scale_fault(scale, ("backbones", name, "preset"), text)
    if problem := backbone.problem(data.shape, choice.patch):
        # Where it was said: at the data source, or at the backbone
        places = [i for i, one in enumerate(scale.data) if one.patch == choice.patch]
        where = ("data", places[0], "patch") if places else ("backbones", name, "patch")
        raise scale_fault(scale, where, problem)
    entries = method_entries(file, arm_name)
    _check_fit(file, arm_name, entries)
    kinds = {s for kind, o in entries for s in METHODS.get(kind).sites(o, backbone.sites)}
    sizes = backbone.sizes(choice.preset, choice.patch)
    return {
        "backbone": {
            "kind": name, **versioned(backbone), "shape": list(data.shape), **sizes,
            "depthwise": arm.depthwise == "static" or "depthwise" in kinds
            or getattr(backbone, "own_depthwise", False),
            "norm_affine": not _replaces_affine(entries), "static_gate": arm.gate == "static",
        },
        "embedder": {
            "version": condition.VERSION, **embedder_options(study.embedder, backbone),
            "width": backbone.condition_width(sizes), "classes": dict(data.classes),
            **({"text": {STREAM: data.text.width}} if data.text else {}),
        },
        **({"text_tokens": data.text.tokens} if data.text else {}),
        "methods": [
            {
                "kind": kind, **versioned(METHODS.get(kind)),
                "options": options.model_dump(mode="json"),
            }
            for kind, options in entries
        ],
    }  # fmt: skip


def embedder_options(kind: str, backbone: Any) -> dict[str, Any]:
    """Of the embedder that all methods share, or of the one published with the backbone."""
    if kind == "shared":
        return {"normalise": True}
    return {"normalise": False} | getattr(backbone, "native_embedder", {})


def _set_size(spec: dict[str, Any], by: str, size: int) -> bool:
    """Writes the free size into a model spec; False when the model has none such."""
    if by in spec["backbone"]:
        spec["backbone"][by] = size
        return True
    found = False
    for method in spec["methods"]:
        options = METHODS.get(method["kind"]).Options.model_validate(method["options"])
        found |= options.set_size(by, size)
        method["options"] = options.model_dump(mode="json")
    return found


def _match(file: StudyFile, name: str, spec: dict[str, Any], target: int) -> None:
    """Finds the whole size with which the arm comes nearest to `target` parameters."""
    by = file.study.arms[name].match.by
    if not _set_size(spec, by, 1):
        raise file.fault(("arms", name, "match", "by"), f"the arm has no free size '{by}'")
    one = parameter_counts(spec)["total"]
    _set_size(spec, by, 2)
    slope = parameter_counts(spec)["total"] - one  # the count is linear in the size
    _set_size(spec, by, max(1, 1 + round((target - one) / slope)))
    found = parameter_counts(spec)["total"]
    if abs(found / target - 1) > MATCH_TOLERANCE:
        raise file.fault(
            ("arms", name, "match"),
            f"{target:,} parameters can't be met: the nearest is {found:,}",
        )


def _narrow(spec: dict[str, Any], scale: Scale) -> None:
    """Gives an arm too large for the scale the scale's bottleneck, where it has one."""
    if scale.bottleneck is None or parameter_counts(spec)["total"] <= scale.max_params:
        return
    for method in spec["methods"]:
        options = METHODS.get(method["kind"]).Options.model_validate(method["options"])
        if options.narrow(scale.bottleneck):
            method["options"] = options.model_dump(mode="json")


def _refusal(layout: Layout, kind: str, options: MethodOptions) -> str | None:
    problem = METHODS.get(kind).refuses(options, layout)
    return None if problem is None else f"{kind}: {problem}"


@contextmanager
def _faults_of(file: StudyFile, arm: str) -> Iterator[None]:
    """A method or backbone that fails while an arm is resolved: one line that names the arm."""
    try:
        yield
    except CabenchError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plugin's code raises
        text = f"can't build the model: {cut(describe(error), 300)}"
        raise file.fault(("arms", arm), text) from None


def resolve_models(file: StudyFile, scale: Scale, data: DataRef) -> dict[str, dict[str, Any]]:
    """Model specs of all arms, sizes matched."""
    models = {}
    for name in file.study.arms:
        with _faults_of(file, name):
            models[name] = resolve_model(file, scale, data, name)
            if file.study.arms[name].match is None:
                _narrow(models[name], scale)
    for name, arm in file.study.arms.items():
        with _faults_of(file, name):
            if arm.match is not None:
                target = parameter_counts(models[arm.match.params_of])["total"]
                _match(file, name, models[name], target)
            layout = layout_of(models[name])
            for method in models[name]["methods"]:
                options = METHODS.get(method["kind"]).Options.model_validate(method["options"])
                if problem := options.problem() or _refusal(layout, method["kind"], options):
                    raise file.fault(("arms", name), problem)
            parameter_counts(models[name])  # it can be built
            content_key(models[name])  # and named
    return models
