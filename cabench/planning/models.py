"""Arms -> model specs: plain data with every size and version. What does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from cabench.config.schema import Scale
from cabench.config.study import StudyFile, scale_fault
from cabench.cost.macs import parameter_counts
from cabench.errors import CabenchError, cut, describe, listed, near, shown, unknown
from cabench.models import embedding as condition
from cabench.models.conditioning.base import MethodOptions
from cabench.models.embedding import embedder_options
from cabench.models.model import layout_of
from cabench.models.sites import Layout
from cabench.planning.data import DataRef
from cabench.registry import BACKBONES, METHODS, versioned
from cabench.runtime.files import content_key
from cabench.runtime.validation import first_fault, validate
from cabench.text import STREAM

MATCH_TOLERANCE = 0.03


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
            "kind": name,
            **versioned(backbone),
            "shape": list(data.shape),
            **sizes,
            "depthwise": arm.depthwise == "static"
            or "depthwise" in kinds
            or getattr(backbone, "own_depthwise", False),
            "norm_affine": not _replaces_affine(entries),
            "static_gate": arm.gate == "static",
        },
        "embedder": {
            "version": condition.VERSION,
            **embedder_options(study.embedder, backbone),
            "width": backbone.condition_width(sizes),
            "classes": dict(data.classes),
            **({"text": {STREAM: data.text.width}} if data.text else {}),
        },
        **({"text_tokens": data.text.tokens} if data.text else {}),
        "methods": [
            {
                "kind": kind,
                **versioned(METHODS.get(kind)),
                "options": options.model_dump(mode="json"),
            }
            for kind, options in entries
        ],
    }


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
