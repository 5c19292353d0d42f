"""Study file + scale -> arms -> model specs -> trials -> keys. What is refused is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cabench import diffusion, metrics, training
from cabench.cost.macs import parameter_counts
from cabench.errors import CabenchError, DataMissing
from cabench.metrics.judge import judge_fingerprint
from cabench.models import condition
from cabench.models import model as _model  # noqa: F401  (registers backbones and methods)
from cabench.models.conditioning.base import MethodOptions
from cabench.registry import BACKBONES, METHODS, METRICS, near
from cabench.schema import Arm, DataChoice, Scale, Study
from cabench.store import content_key
from cabench.yamlfile import check, fault, first_fault, read_yaml

SAMPLE_RECIPE = 1  # raise it whenever the same network would draw other samples


# -- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyFile:
    """A checked study with where it stands, so that later faults can still name the line."""

    path: Path
    content: Any
    study: Study
    sha256: str

    def fault(self, where: tuple[Any, ...], text: str) -> CabenchError:
        return fault(self.path, self.content, where, text)


def read_study(path: Path) -> StudyFile:
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise CabenchError(
            f"no study file '{path}'{near(str(path), known)}"
            + (f"; here are: {', '.join(known)}" if known else "")
        )
    content = read_yaml(path, "study")
    study = check(Study, path, content)
    file = StudyFile(path, content, study, hashlib.sha256(path.read_bytes()).hexdigest())
    _check_references(file)
    return file


def unknown(what: str, found: str, allowed: Iterable[str]) -> str:
    return f"unknown {what} '{found}'{near(found, allowed)}; allowed: {', '.join(allowed)}"


def _check_references(file: StudyFile) -> None:
    study = file.study
    arms = study.arms

    def arm_named(name: str, *where: Any) -> None:
        if name not in arms:
            raise file.fault(
                where, f"no arm '{name}'{near(name, arms)}; arms: {', '.join(arms)}"
            )

    def one_of(found: str, allowed: list[str], what: str, *where: Any) -> None:
        if found not in allowed:
            raise file.fault(where, unknown(what, found, allowed))

    arm_named(study.baseline, "baseline")
    one_of(study.primary, metrics.names(), "metric", "primary")
    one_of(study.backbones[0], BACKBONES.names(), "backbone", "backbones", 0)
    for i, claim in enumerate(study.claims):
        arm_named(claim.better, "claims", i, "better")
        arm_named(claim.than, "claims", i, "than")
        one_of(claim.metric, metrics.names(), "metric", "claims", i, "metric")
    for name, arm in arms.items():
        if arm.match is not None:
            arm_named(arm.match.params_of, "arms", name, "match", "params_of")
            if arms[arm.match.params_of].match is not None:
                raise file.fault(
                    ("arms", name, "match"), f"'{arm.match.params_of}' is itself a matched arm"
                )


def scale_names() -> list[str]:
    folder = resources.files("cabench") / "scales"
    return sorted(Path(p.name).stem for p in folder.iterdir() if p.name.endswith(".yaml"))


def read_scale(name: str) -> Scale:
    """A scale of the package by name, or a YAML file by path."""
    if name in scale_names():
        path = Path(str(resources.files("cabench") / "scales" / f"{name}.yaml"))
    elif name.endswith((".yaml", ".yml")) and Path(name).is_file():
        path = Path(name)
    else:
        raise CabenchError(
            f"--scale: unknown scale '{name}'{near(name, scale_names())}; "
            f"allowed: {', '.join(scale_names())}, or a YAML file"
        )
    content = read_yaml(path, "scale")
    scale = check(Scale, path, content)
    for i, metric in enumerate(scale.metrics):
        if metric not in metrics.names():
            text = unknown("metric", metric, metrics.names())
            raise fault(path, content, ("metrics", i), text)
    return scale


# -- data ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataRef:
    """The data of a study at a scale: what trials need to know of it before they load it."""

    source: str
    options: dict[str, Any]
    fingerprint: str | None  # None: the data is absent
    shape: tuple[int, int, int]
    classes: dict[str, int]  # of the streams the study needs
    flip: bool
    missing: str = ""  # why it is absent, and how to get it


def choose_data(file: StudyFile, scale: Scale) -> DataChoice:
    needs = set(file.study.needs)
    for choice in scale.data:
        if needs <= set(choice.streams):
            return choice
    offered = "; ".join(f"{c.source}: {', '.join(c.streams)}" for c in scale.data)
    raise file.fault(
        ("needs",), f"scale '{scale.scale}' has no data with {', '.join(sorted(needs))} ({offered})"
    )


def find_data(file: StudyFile, scale: Scale) -> DataRef:
    """Loads the data to know its fingerprint; absent data is described from the scale."""
    from cabench.data import load_dataset

    choice, needs = choose_data(file, scale), file.study.needs
    try:
        data = load_dataset(choice.source, **choice.options)
    except DataMissing as error:
        if choice.shape is None or choice.classes is None:
            raise
        classes = {name: choice.classes[name] for name in needs}
        return DataRef(
            choice.source, choice.options, None, choice.shape, classes,
            bool(choice.options.get("flip", False)), str(error),
        )  # fmt: skip
    absent = [name for name in needs if name not in data.classes]
    if absent:
        raise CabenchError(
            f"data '{choice.source}' has no stream {', '.join(absent)}; "
            f"it has {', '.join(data.classes)}"
        )
    classes = {name: len(data.classes[name]) for name in needs}
    return DataRef(
        choice.source, choice.options, data.fingerprint, tuple(data.shape), classes, data.flip
    )


# -- models --------------------------------------------------------------------------------------


def source_streams(source: str | list[str], needs: list[str]) -> list[str]:
    """'both' -> timestep and label; a stream -> itself. ValueError names what is allowed."""
    streams = [condition.TIMESTEP, *needs]
    asked = [condition.TIMESTEP, "label"] if source == "both" else source
    asked = [asked] if isinstance(asked, str) else list(asked)
    for name in asked:
        if name not in streams:
            allowed = ["both", *streams]
            raise ValueError(
                f"no stream '{name}'{near(name, allowed)}; allowed: {', '.join(allowed)}"
            )
    if len(set(asked)) != len(asked) or not asked:
        raise ValueError(f"a source is a set of streams; found {asked}")
    return sorted(asked, key=streams.index)


def method_entries(file: StudyFile, arm_name: str) -> list[tuple[str, MethodOptions]]:
    """The arm's methods with checked options; `native` is spelt out."""
    backbone = BACKBONES.get(file.study.backbones[0])
    entries = []
    for i, written in enumerate(file.study.arms[arm_name].methods):
        where = ("arms", arm_name, "methods", i)
        for entry in backbone.native if written == "native" else [written]:
            if isinstance(entry, dict) and len(entry) != 1:
                raise file.fault(where, "a method is a name, or one name with its options")
            kind, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
            allowed = ["native", *METHODS.names()]
            if kind not in METHODS:
                raise file.fault(where, unknown("method", kind, allowed))
            model = METHODS.get(kind).Options
            try:
                checked = model.model_validate(dict(options or {}))
            except ValidationError as error:
                inner, text = first_fault(error, model)
                raise file.fault((*where, kind, *inner), text) from None
            try:
                checked.source = source_streams(checked.source, file.study.needs)
            except ValueError as error:
                raise file.fault((*where, kind, "source"), str(error)) from None
            entries.append((kind, checked))
    return entries


def _check_fit(file: StudyFile, arm_name: str, entries: list[tuple[str, MethodOptions]]) -> bool:
    """Refuses what clashes or doesn't fit; returns whether a method modulates the norms."""
    name = file.study.backbones[0]
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
                raise file.fault(where, unknown(f"{name} hook", hook, backbone.hooks))
            if hook in taken:
                raise file.fault(
                    where, f"'{kind}' and '{taken[hook]}' both want the hook '{hook}'; it holds one"
                )
            taken[hook] = kind
    return "norm" in taken


def resolve_model(file: StudyFile, scale: Scale, data: DataRef, arm_name: str) -> dict[str, Any]:
    """The arm's whole model as plain data: what `models.model.build` needs, and all versions."""
    study, arm = file.study, file.study.arms[arm_name]
    name = study.backbones[0]
    backbone = BACKBONES.get(name)
    if name not in scale.backbones:
        raise CabenchError(f"scale '{scale.scale}' says nothing of backbone '{name}'")
    choice = scale.backbones[name]
    if choice.preset not in backbone.presets:
        raise CabenchError(
            f"scale '{scale.scale}': backbones.{name}.preset: unknown preset '{choice.preset}'"
            f"{near(choice.preset, backbone.presets)}; allowed: {', '.join(backbone.presets)}"
        )
    if problem := backbone.problem(data.shape, choice.patch):
        raise CabenchError(f"scale '{scale.scale}': backbones.{name}.patch: {problem}")
    entries = method_entries(file, arm_name)
    modulated = _check_fit(file, arm_name, entries)
    if modulated and arm.gate == "static":
        raise file.fault(("arms", arm_name, "gate"), "a norm modulator brings its own gate")
    kinds = {s for kind, o in entries for s in METHODS.get(kind).sites(o, backbone.sites)}
    preset = backbone.presets[choice.preset]
    return {
        "backbone": {
            "kind": name, "version": backbone.version, "shape": list(data.shape),
            **preset, "patch": choice.patch, "ffn_hidden": 4 * preset["width"],
            "depthwise": arm.depthwise == "static" or "depthwise" in kinds,
            "norm_affine": not modulated, "static_gate": arm.gate == "static",
        },
        "embedder": {
            "version": condition.VERSION, "width": preset["width"], "normalise": True,
            "classes": dict(data.classes),
        },
        "methods": [
            {
                "kind": kind, "version": METHODS.get(kind).version,
                "options": options.model_dump(mode="json"),
            }
            for kind, options in entries
        ],
    }  # fmt: skip


def _set_size(spec: dict[str, Any], by: str, size: int) -> bool:
    """Writes the free size into a model spec; False when the model has none such."""
    if by == "ffn_hidden":
        spec["backbone"]["ffn_hidden"] = size
        return True
    free = [m["options"] for m in spec["methods"] if m["options"].get("generator") == "bottleneck"]
    for options in free:
        options["rank"] = size
    return bool(free)


def resolve_models(file: StudyFile, scale: Scale, data: DataRef) -> dict[str, dict[str, Any]]:
    """Model specs of all arms, matched sizes found, `max_params` held."""
    models = {name: resolve_model(file, scale, data, name) for name in file.study.arms}
    for name, arm in file.study.arms.items():
        spec = models[name]
        if arm.match is not None:
            if not _set_size(spec, arm.match.by, 1):
                raise file.fault(("arms", name, "match"), "no bottleneck generator to size")
            target = parameter_counts(models[arm.match.params_of])["total"]
            one = parameter_counts(spec)["total"]
            _set_size(spec, arm.match.by, 2)
            slope = parameter_counts(spec)["total"] - one  # the count is linear in the size
            _set_size(spec, arm.match.by, max(1, 1 + round((target - one) / slope)))
        for method in spec["methods"]:
            options = method["options"]
            if options.get("generator") == "bottleneck" and options["rank"] is None:
                raise file.fault(("arms", name), "a bottleneck needs a rank, or match: {by: rank}")
    return models


# -- trials --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """arm x seed: a spec that fixes what is measured, and how this machine gets at its data."""

    arm: str
    seed: int
    spec: dict[str, Any]  # plain JSON; its hash is the key
    data_options: dict[str, Any]
    snapshots: dict[str, Any]  # how often, and whether state is kept: changes no number

    @property
    def train_key(self) -> str:
        return content_key("train", self.spec["train"])

    def sample_key(self, guidance: float) -> str:
        return content_key(
            "sample", self.train_key, self.spec["images"], self.spec["sample"], guidance
        )

    @property
    def key(self) -> str:
        guidances = [self.spec["guidance"], *self.spec["sweep"]]
        return content_key("score", [self.sample_key(g) for g in guidances], self.spec["score"])


@dataclass(frozen=True)
class Plan:
    """A study at a scale: arms that run, their models, their trials."""

    file: StudyFile
    scale: Scale
    data: DataRef
    arms: list[str]
    seeds: list[int]
    models: dict[str, dict[str, Any]]
    trials: list[Trial]


def make_trial(scale: Scale, data: DataRef, arm: Arm, name: str, model: dict, seed: int,
               place: int) -> Trial:  # fmt: skip
    recipe = scale.training.model_dump(mode="json")
    snapshots = {k: recipe.pop(k) for k in ("snapshot_every", "keep_state")}
    images = recipe.pop("images")
    sampling = scale.sampling.model_dump(mode="json")
    sweep = sampling.pop("sweep")
    guidance = sampling.pop("guidance")
    spec = {
        "train": {
            "recipe": training.RECIPE, "model": model,
            "data": {"source": data.source, "fingerprint": data.fingerprint, "flip": data.flip},
            "training": recipe, "diffusion": scale.diffusion.model_dump(mode="json"),
            "seed": seed, "init_salt": arm.init_salt,
        },
        "images": images,
        "sample": {"recipe": SAMPLE_RECIPE, **sampling},
        "guidance": guidance,
        "sweep": sweep["guidance"] if place < sweep["seeds"] else [],
        "score": {
            "judge": judge_fingerprint(), "metrics": metrics.versions(scale.metrics),
            "heldout": scale.heldout.model_dump(mode="json"),
        },
    }  # fmt: skip
    return Trial(name, seed, spec, data.options, snapshots)


def plan(file: StudyFile, scale: Scale, seeds: list[int] | None = None,
         all_arms: bool = False) -> Plan:  # fmt: skip
    """Everything that `run` would do, before it does any of it."""
    study = file.study
    if study.primary not in scale.metrics:
        raise file.fault(
            ("primary",), f"scale '{scale.scale}' doesn't measure '{study.primary}'; "
            f"it measures {', '.join(scale.metrics)}"
        )  # fmt: skip
    sampler, flow = scale.sampling.sampler, scale.diffusion.prediction == "flow"
    if flow and sampler not in diffusion.FLOW_SAMPLERS:
        raise CabenchError(
            f"scale '{scale.scale}': sampling.sampler: '{sampler}' can't follow flow; "
            f"allowed: {', '.join(diffusion.FLOW_SAMPLERS)}"
        )
    for name in metrics.needing("samples", scale.metrics):
        least = METRICS.get(name).min_samples
        if scale.sampling.n < least:
            raise CabenchError(
                f"scale '{scale.scale}': sampling.n: {name} needs at least {least} samples; "
                f"found {scale.sampling.n}"
            )
    data = find_data(file, scale)
    models = resolve_models(file, scale, data)
    arms = [n for n, a in study.arms.items() if all_arms or scale.extra_arms or not a.extra]
    for name in arms:
        total = parameter_counts(models[name])["total"]
        if total > scale.max_params:
            raise file.fault(
                ("arms", name), f"{total:,} parameters; scale '{scale.scale}' allows "
                f"{scale.max_params:,} (max_params): give CAN a bottleneck generator"
            )  # fmt: skip
    if study.baseline not in arms:
        raise file.fault(("baseline",), f"arm '{study.baseline}' is extra and doesn't run here")
    seeds = list(range(scale.seeds)) if seeds is None else seeds
    trials = [
        make_trial(scale, data, study.arms[arm], arm, models[arm], seed, place)
        for place, seed in enumerate(seeds)  # seed by seed: a stopped study has whole pairs
        for arm in arms
    ]
    return Plan(file, scale, data, arms, seeds, models, trials)


def manifest(plan: Plan, scale_name: str) -> dict[str, Any]:
    """What was asked for, so that later verbs need neither the study file nor its plugins."""
    study = plan.file.study
    labels = {name: metrics.describe(name, plan.scale.sampling.n) for name in plan.scale.metrics}
    return {
        "study": study.study, "question": study.question, "scale": scale_name,
        "study_file": str(plan.file.path), "study_sha256": plan.file.sha256,
        "backbones": study.backbones, "baseline": study.baseline, "primary": study.primary,
        "arms": [
            {"name": n, "extra": study.arms[n].extra, "bound": study.arms[n].bound,
             "about": study.arms[n].about}
            for n in plan.arms
        ],
        "seeds": plan.seeds,
        "trials": [{"arm": t.arm, "seed": t.seed, "key": t.key} for t in plan.trials],
        "metrics": labels,
        "claims": [c.model_dump() for c in study.claims], "caveat": study.caveat,
        "plugins": [],
    }  # fmt: skip
