"""Study + scale -> trials and their keys: everything that a run would do, before it does any."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cabench import metrics
from cabench.config.files import as_named
from cabench.config.scale import Scale
from cabench.config.schema import ADDED_ID, Study
from cabench.config.settings import Setting
from cabench.config.study import ScaleFile, StudyFile
from cabench.config.yaml import Document, located
from cabench.diffusion.passes import Passes
from cabench.errors import ConfigError
from cabench.planning import references
from cabench.planning.combinations import check_arms, check_scale
from cabench.planning.data import DataRef, choose_data, find_data, on_data
from cabench.planning.models import ResolvedModel, network_of, resolve_models
from cabench.planning.recipes import arm_scale
from cabench.planning.settings import check_settings
from cabench.planning.specs import can_be_compiled, present, sample_spec, score_spec, train_spec
from cabench.planning.weights import find_weights
from cabench.plugins import Plugin
from cabench.records.schema import (
    Manifest,
    ManifestArm,
    ManifestClaim,
    ManifestDesign,
    ManifestLength,
    ManifestSetting,
    ManifestTrial,
    MetricInfo,
    PluginFile,
    SearchResult,
)
from cabench.records.spec import (
    SampleSpec,
    ScoreSpec,
    TrainSpec,
    TrialSpec,
)


@dataclass(frozen=True)
class Places:
    """Where this machine has what a trial reads. No number depends on it."""

    data: dict[str, Any]  # options of the data source, such as its directory
    text: str | None = None  # directory or hub name of the text encoder
    clip: str | None = None  # the same of the CLIP that scores
    init_from: str | None = None  # file of weights that training starts from


@dataclass(frozen=True)
class Trial:
    """arm x seed: a spec that decides the numbers, and how this machine reaches its data."""

    # fmt: off
    arm: str
    seed: int
    spec: TrialSpec
    places: Places
    snapshot_every: int                     # images; changes no number
    keep_state: bool                        # after training, so that a longer run can resume
    plugins: tuple[Plugin, ...] = ()        # to load where it runs; their hashes are in the spec
    tuning: SearchResult | None = None      # the search that chose the learning rate
    beside: tuple[int, ...] = ()            # other seeds to train in one stack; changes no number
    passes: Passes = Passes()               # noqa: RUF009 (frozen); changes the order of summation
    # fmt: on

    def of_length(self, images: int) -> Trial:
        """The same trial after a shorter training, at the primary guidance alone."""
        train = self.spec.train.of_length(images)
        spec = self.spec.model_copy(update={"train": train, "images": images, "sweep": ()})
        return dataclasses.replace(self, spec=spec)

    @cached_property
    def key(self) -> str:
        return self.spec.key


@dataclass(frozen=True)
class Plan:
    """A study at a scale: the arms that run, their models, their trials."""

    # fmt: off
    file: StudyFile
    documents: tuple[Document, ...]     # that locate a ConfigError: study and scale
    scale: Scale                        # on the data source that is used
    data: DataRef
    arms: list[str]
    seeds: list[int]
    models: dict[str, ResolvedModel]    # of every arm, run or not
    trials: list[Trial]                 # at the scale's full length
    plugins: tuple[Plugin, ...] = ()
    settings: tuple[Setting, ...] = ()  # of the scale, that the command line replaced
    # fmt: on

    @property
    def study(self) -> Study:
        return self.file.study

    @property
    def scores_on_gpu(self) -> bool:
        """Whether features of images are extracted on CUDA."""
        return any(trial.spec.score.on_gpu for trial in self.trials)

    @property
    def lengths(self) -> list[int]:
        """Images of every training length, the shortest first."""
        return [*self.scale.training.lengths, self.scale.training.images]

    @property
    def shorter(self) -> dict[int, list[Trial]]:
        """The trials after shorter trainings, by their images."""
        return {
            images: [trial.of_length(images) for trial in self.trials]
            for images in self.lengths[:-1]
        }

    @property
    def all_trials(self) -> list[Trial]:
        """The trials of every length, the shortest first: a longer training continues them."""
        return [*(trial for trials in self.shorter.values() for trial in trials), *self.trials]


def plan(
    file: StudyFile,
    scale_file: ScaleFile,
    seeds: Sequence[int] | None = None,
    *,
    further_seeds: Mapping[str, Sequence[int]] | None = None,
    all_arms: bool = False,
    plugins: tuple[Plugin, ...] = (),
    kernels: dict[str, str] | None = None,
    compiles: bool = True,
    on_gpu: bool = False,
) -> Plan:
    """Everything that a run of the study at the scale would do.

    `seeds` replaces the scale's; `further_seeds` are those of single arms, added later in this
    order; `all_arms` runs extra arms, too; `kernels` are the forms of per-sample layers that were
    forced (`models.kernel_forms.overrides`); `compiles` says whether this machine can compile,
    `on_gpu` whether trials run on CUDA: it draws other random numbers than a CPU, and features
    that are extracted on it differ a little.
    A ConfigError names file, line and key.
    """
    documents = (file.document, scale_file.document)
    study = file.study
    with located(*documents):
        references.check_study(file.written)
        backbones = {n: arm.network or file.backbone for n, arm in study.arms.items()}
        for backbone in dict.fromkeys((file.backbone, *backbones.values())):
            references.check_scale(scale_file.scale, backbone)
        place = choose_data(study.needs, scale_file.scale)
        scale = on_data(scale_file.scale, place)
        check_settings(scale_file.settings, scale, place, file.backbone)
        check_scale(study, scale)
        data = find_data(study.needs, scale, place, study.resample)
        networks = {n: network_of(study, scale, name, data) for n, name in backbones.items()}
        models = resolve_models(study.arms, networks, scale.max_params, scale.bottleneck)
        arms = _run_arms(file, scale, all_arms)
        check_arms(study, {name: model.spec for name, model in models.items()}, arms)
        _check_sizes(arms, models, scale)
        scales = {
            name: arm_scale(scale, study.arms[name].recipe, ("arms", name, "recipe"))
            for name in arms
        }
        weights = find_weights(scale, {name: models[name].spec for name in arms})
    if isinstance(data.missing, ConfigError):
        data = dataclasses.replace(data, missing=scale_file.document.locate(data.missing))
    seeds = list(range(scale.seeds)) if seeds is None else list(seeds)
    further = {arm: list(further) for arm, further in (further_seeds or {}).items()}
    every = [*seeds, *(seed for one in further.values() for seed in one)]
    score = score_spec(scale, data, on_gpu)
    specs = {name: models[name].spec for name in arms}
    compiled = {name: compiles and can_be_compiled(spec, kernels) for name, spec in specs.items()}
    trials = [
        _trial(
            name,
            seed,
            scale=scale,
            data=data,
            train=train_spec(
                study.arms[name],
                seed,
                scales[name],
                data,
                specs[name],
                kernels,
                compiled[name],
                weights,
                on_gpu,
            ),
            sample=sample_spec(scales[name], compiled[name], on_gpu),
            score=score,
            plugins=plugins,
        )
        for seed in dict.fromkeys(every)  # by seed: a study that is stopped has complete pairs
        for name in arms
        if seed in seeds or seed in further.get(name, ())
    ]
    settings = scale_file.settings
    return Plan(file, documents, scale, data, arms, seeds, models, trials, plugins, settings)


def _run_arms(file: StudyFile, scale: Scale, all_arms: bool) -> list[str]:
    """The arms that run at this scale, in the study's order."""
    every = all_arms or scale.extra_arms
    chosen = {*file.added, file.against} if file.added else ()
    arms = [n for n, a in file.study.arms.items() if every or not a.extra or n in chosen]
    if file.study.baseline not in arms:
        text = f"arm '{file.study.baseline}' is extra and does not run at this scale"
        raise ConfigError("study", ("baseline",), text)
    return arms


def _check_sizes(arms: list[str], models: dict[str, ResolvedModel], scale: Scale) -> None:
    for name in arms:
        total = models[name].parameters.total
        if total > scale.max_params:
            text = (
                f"{total:,} parameters; scale '{scale.scale}' allows {scale.max_params:,} "
                "(max_params): give CAN a bottleneck generator in the study, or the scale a rank "
                "for such arms (bottleneck: 64)"
            )
            raise ConfigError("study", ("arms", name), text)


# ---- specs --------------------------------------------------------------------------------------


def _trial(
    arm: str,
    seed: int,
    *,
    scale: Scale,
    data: DataRef,
    train: TrainSpec,
    sample: SampleSpec,
    score: ScoreSpec,
    plugins: tuple[Plugin, ...],
) -> Trial:
    sweep = scale.sampling.sweep
    spec = TrialSpec(
        train=train,
        images=scale.training.images,
        sample=sample,
        guidance=scale.sampling.guidance,
        sweep=tuple(sweep.guidance) if seed < sweep.seeds else (),
        score=score,
    )
    return Trial(
        arm=arm,
        seed=seed,
        spec=spec,
        places=Places(
            data.options,
            text=data.text.path if data.text else None,
            clip=scale.clip.path if data.clip and scale.clip else None,
            init_from=scale.training.init_from,
        ),
        snapshot_every=scale.training.snapshot_every,
        keep_state=scale.training.keep_state,
        plugins=plugins,
        passes=Passes(scale.training.micro_batch, scale.training.checkpointing),
    )


# ---- manifest -----------------------------------------------------------------------------------


def manifest(
    plan: Plan,
    *,
    scale_file: str = "",
    use_reference: bool = False,
    design: ManifestDesign | None = None,
) -> Manifest:
    """What a run asks for, so that later commands need neither the study file nor its plugins."""
    study = plan.study
    labels = {name: metrics.describe(name, plan.scale.sampling.n) for name in plan.scale.metrics}
    if plan.data.unseen:
        labels |= metrics.describe_unseen(plan.scale.metrics, plan.data.unseen)
    for label in labels.values():
        if label.get("twin") not in labels:
            label.pop("twin", None)
    claims = [
        ManifestClaim.model_validate(
            claim.model_dump(exclude=None if claim.repeats else {"repeats"})
        )
        for claim in study.claims
    ]
    return Manifest(
        study=study.study,
        question=study.question,
        scale=plan.scale.scale,
        study_file=as_named(plan.file.path),
        study_sha256=plan.file.sha256,
        backbone=plan.file.backbone,
        baseline=study.baseline,
        primary=study.primary,
        arms=tuple(
            ManifestArm(
                name=name,
                extra=study.arms[name].extra,
                bound=study.arms[name].bound,
                native="native" in study.arms[name].methods,
                about=study.arms[name].about,
                added=name in plan.file.added,
            )
            for name in plan.arms
        ),
        seeds=tuple(dict.fromkeys(trial.seed for trial in plan.trials)),
        trials=_manifest_trials(plan.trials),
        **present(
            shorter=tuple(
                ManifestLength(images=images, trials=_manifest_trials(trials))
                for images, trials in plan.shorter.items()
            )
        ),
        metrics={name: MetricInfo.model_validate(label) for name, label in labels.items()},
        classes={stream: tuple(names) for stream, names in plan.data.names.items()},
        claims=(*claims, *added_claims(plan.file)),
        caveat=study.caveat,
        plugins=tuple(PluginFile(path=p.path, sha256=p.sha256) for p in plan.plugins),
        tuning={t.arm: t.tuning for t in plan.trials if t.tuning is not None},
        added=tuple(dict.fromkeys(plan.file.added.values())),
        scale_file=scale_file,
        use_reference=use_reference,
        design=design
        or ManifestDesign(sequential=False, until_resolved=False, **study.sequential.model_dump()),
        margins=study.margins,
        **present(
            resample=study.resample,
            settings=tuple(
                ManifestSetting(key=s.key, value=s.value, before=s.before) for s in plan.settings
            ),
        ),
    )


def _manifest_trials(trials: list[Trial]) -> tuple[ManifestTrial, ...]:
    return tuple(ManifestTrial(arm=t.arm, seed=t.seed, key=t.key) for t in trials)


def added_claims(file: StudyFile) -> list[ManifestClaim]:
    """One claim per arm of the command line: that it beats the baseline, or the arm of --against.

    Their ids are A1, A2, ... in the order given; `config.study` refuses such ids in a study.
    """
    study = file.study
    return [
        ManifestClaim(
            id=ADDED_ID.format(i),
            says=f"{name} beats {file.against}",
            better=name,
            than=file.against,
            metric=study.primary,
            test="superiority",
            added=True,
        )
        for i, name in enumerate((n for n in file.added if not study.arms[n].bound), 1)
    ]
