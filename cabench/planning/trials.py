"""Study + scale -> trials and their keys: all that a run would do, before it does any of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from cabench import metrics
from cabench.config.schema import ADDED_ID, Arm, Scale
from cabench.config.study import StudyFile, scale_fault
from cabench.cost import macs
from cabench.cost.macs import parameter_counts
from cabench.diffusion import process as diffusion
from cabench.diffusion import training
from cabench.errors import listed
from cabench.metrics import probe
from cabench.metrics.extractors.lite0 import lite0_fingerprint
from cabench.models import kernels
from cabench.planning.data import DataRef, choose_data, find_data, on_data
from cabench.planning.models import resolve_models
from cabench.plugins import Plugin
from cabench.runtime.files import content_key

SAMPLE_RECIPE = 3  # raise it whenever the same network would draw other samples


@dataclass(frozen=True)
class Trial:
    """arm x seed: a spec that fixes what is measured, and how this machine gets at its data."""

    arm: str
    seed: int
    spec: dict[str, Any]  # plain JSON; its hash is the key
    data_options: dict[str, Any]
    snapshots: dict[str, Any]  # how often, and whether state is kept: changes no number
    plugins: tuple[Plugin, ...] = ()  # to be loaded where it runs; their hashes are in the spec
    tuning: dict[str, Any] | None = None  # the search that found the learning rate
    assets: dict[str, Any] = field(
        default_factory=dict
    )  # where text encoders and feature extractors have weights

    @property
    def train_key(self) -> str:
        return content_key("train", self.spec["train"])

    def sample_key(self, guidance: float, split: str = "report") -> str:
        """Of the samples told the conditions of a split's pictures."""
        asked = [self.train_key, self.spec["images"], self.spec["sample"], guidance]
        elsewhere = {split: self.spec["score"][split]} if split != "report" else None
        return content_key("sample", *asked, *([elsewhere] if elsewhere else []))

    @property
    def key(self) -> str:
        guidances = [self.spec["guidance"], *self.spec["sweep"]]
        asked = [[self.sample_key(g) for g in guidances], self.spec["score"]]
        if "tuning" in self.spec:  # so that no record tells another study's search
            asked.append(self.spec["tuning"])
        return content_key("score", *asked)


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
    plugins: tuple[Plugin, ...] = ()


def make_trial(
    scale: Scale,
    data: DataRef,
    arm: Arm,
    name: str,
    model: dict[str, Any],
    seed: int,
    plugins: tuple[Plugin, ...] = (),
) -> Trial:
    recipe = scale.training.model_dump(mode="json")
    snapshots = {k: recipe.pop(k) for k in ("snapshot_every", "keep_state")}
    images = recipe.pop("images")
    sampling = scale.sampling.model_dump(mode="json")
    sweep = sampling.pop("sweep")
    guidance = sampling.pop("guidance")
    forms = kernels.overrides(os.environ.get(kernels.VARIABLE, ""))  # they change the last bits
    spec = {
        "train": {
            "recipe": training.RECIPE,
            **({"kernels": forms} if forms else {}),
            "model": model,
            "data": {"source": data.source, "fingerprint": data.fingerprint, "flip": data.flip}
            | ({"vae": data.vae} if data.vae else {}),
            "training": recipe,
            "diffusion": scale.diffusion.model_dump(mode="json"),
            "seed": seed,
            "init_salt": arm.init_salt,
            **({"text": data.text.spec} if data.text else {}),
        },
        "images": images,
        "sample": {"recipe": SAMPLE_RECIPE, **sampling},
        "guidance": guidance,
        "sweep": sweep["guidance"] if seed < sweep["seeds"] else [],
        "score": {
            "judge": lite0_fingerprint(),
            **({"judges": data.extractors} if data.extractors else {}),
            "metrics": metrics.versions(scale.metrics),
            "heldout": scale.heldout.model_dump(mode="json"),
            "probe": probe.VERSION,
            "cost": macs.VERSION,
            **({"unseen": data.unseen} if data.unseen else {}),
        },
    }
    assets = {"text": {"name": data.text.encoder, "path": data.text.path}} if data.text else {}
    if data.clip is not None:
        spec["score"]["clip"] = data.clip
        assets["clip"] = scale.clip.path
    return Trial(name, seed, spec, data.options, snapshots, plugins, assets=assets)


def plan(
    file: StudyFile,
    scale: Scale,
    seeds: list[int] | None = None,
    all_arms: bool = False,
    plugins: tuple[Plugin, ...] = (),
) -> Plan:
    """Everything that `run` would do, before it does any of it."""
    study = file.study
    scale = on_data(scale, choose_data(file, scale))
    if study.primary not in scale.metrics:
        raise file.fault(
            ("primary",),
            f"scale '{scale.scale}' doesn't measure '{study.primary}'; "
            f"it measures {listed(scale.metrics)}",
        )
    sampler, flow = scale.sampling.sampler, scale.diffusion.prediction == "flow"
    if flow and sampler not in diffusion.FLOW_SAMPLERS:
        text = f"'{sampler}' can't follow flow; allowed: {listed(diffusion.FLOW_SAMPLERS)}"
        raise scale_fault(scale, ("sampling", "sampler"), text)
    data = find_data(file, scale)
    models = resolve_models(file, scale, data)
    every = all_arms or scale.extra_arms
    arms = [n for n, a in study.arms.items() if every or not a.extra or n in file.added]
    for name in arms:
        total = parameter_counts(models[name])["total"]
        if total > scale.max_params:
            raise file.fault(
                ("arms", name),
                f"{total:,} parameters; scale '{scale.scale}' allows "
                f"{scale.max_params:,} (max_params): give CAN a bottleneck generator in the study, "
                "or the scale a rank for such arms (bottleneck: 64)",
            )
    if study.baseline not in arms:
        raise file.fault(("baseline",), f"arm '{study.baseline}' is extra and doesn't run here")
    seeds = list(range(scale.seeds)) if seeds is None else seeds
    trials = [
        make_trial(scale, data, study.arms[arm], arm, models[arm], seed, plugins)
        for seed in seeds  # seed by seed: a stopped study has whole pairs
        for arm in arms
    ]
    return Plan(file, scale, data, arms, seeds, models, trials, plugins)


def manifest(plan: Plan) -> dict[str, Any]:
    """What was asked for, so that later verbs need neither the study file nor its plugins."""
    study = plan.file.study
    labels = {name: metrics.describe(name, plan.scale.sampling.n) for name in plan.scale.metrics}
    if plan.data.unseen:
        labels |= metrics.describe_unseen(plan.scale.metrics, plan.data.unseen)
    return {
        "study": study.study,
        "question": study.question,
        "scale": plan.scale.scale,
        "study_file": str(plan.file.path),
        "study_sha256": plan.file.sha256,
        "backbone": plan.file.backbone,
        "baseline": study.baseline,
        "primary": study.primary,
        "arms": [
            {
                "name": n,
                "extra": study.arms[n].extra,
                "bound": study.arms[n].bound,
                "native": "native" in study.arms[n].methods,
                "about": study.arms[n].about,
                "added": n in plan.file.added,
            }
            for n in plan.arms
        ],
        "seeds": plan.seeds,
        "trials": [{"arm": t.arm, "seed": t.seed, "key": t.key} for t in plan.trials],
        "metrics": labels,
        "classes": plan.data.names,
        "claims": [*(c.model_dump() for c in study.claims), *added_claims(plan.file)],
        "caveat": study.caveat,
        "plugins": [{"path": p.path, "sha256": p.sha256} for p in plan.plugins],
        "tuning": {t.arm: t.tuning for t in plan.trials if t.tuning is not None},
        "added": list(dict.fromkeys(plan.file.added.values())),
    }


def added_claims(file: StudyFile) -> list[dict[str, Any]]:
    """What an arm of the command line is held to: that it beats the baseline.

    They are A1, A2, ... in the order given; a study that has such an id of its own is refused when
    it is read.
    """
    study = file.study
    return [
        {
            "id": ADDED_ID.format(i),
            "says": f"{name} beats {study.baseline}",
            "better": name,
            "than": study.baseline,
            "metric": study.primary,
            "test": "superiority",
            "added": True,
        }
        for i, name in enumerate((n for n in file.added if not study.arms[n].bound), 1)
    ]
