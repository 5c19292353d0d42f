"""Trained networks of a study: load the averaged network of a trial, sample, read saved samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cabench.analysis.study_results import StudyResults
from cabench.api.conditions import LABEL, Conditions, streams_of
from cabench.data.dataset import VaeSource
from cabench.data.vae import VAE
from cabench.diffusion import sampling
from cabench.diffusion.checkpoints import load, load_ema, snapshot_path
from cabench.diffusion.process import Process
from cabench.diffusion.training import marks
from cabench.errors import CabenchError, listed, near, shown
from cabench.metrics.reference import report_labels
from cabench.models.model import ConditionalModel
from cabench.models.streams import length, take
from cabench.planning.run_data import drawn, find_dataset, scale_of, without_draw
from cabench.plugins import load_plugins, read_plugins
from cabench.records.runs import Run, find_run
from cabench.records.schema import ManifestDesign, Record
from cabench.records.spec import TrainSpec, TrialSpec
from cabench.records.store import Store
from cabench.registry import BACKBONES, METHODS, versioned
from cabench.report.methods_section import command
from cabench.runtime.cache import CACHE, RESULTS, cache_at
from cabench.runtime.devices import pick_device
from cabench.runtime.images import to_uint8
from cabench.runtime.threads import one_thread


@dataclass(frozen=True)
class TrainedModel:
    """The averaged network of a trial, ready to sample."""

    # fmt: off
    name: str                               # 'layer_placement.quick:can-3, seed 0'
    network: ConditionalModel               # a torch module in evaluation mode
    spec: TrialSpec                         # how it was trained, and how its trial samples
    classes: Mapping[str, Sequence[str]]    # stream -> names of its classes
    vae: VaeSource | None = None            # that decodes, of a network on latents
    guide: ConditionalModel | None = None   # of autoguidance
    text_path: str | None = None            # weights of the text encoder; None: the encoder's own
    # fmt: on

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.network.parameters()).device


class SavedSamples(NamedTuple):
    """The samples that a trial was scored with."""

    images: Tensor  # (n, C, H, W) uint8
    labels: Tensor  # (n,) int64, the labels that they are conditioned on


def load_model(
    study: str | Path | StudyResults,
    arm: str,
    seed: int = 0,
    *,
    scale: str | None = None,
    results: str | Path = RESULTS,
    cache: str | Path = CACHE,
    plugins: Iterable[str | Path] = (),
    device: str = "cpu",
) -> TrainedModel:
    """The averaged network (EMA) of a trial, from the checkpoint in the cache.

    Args:
        study: as for `cabench.load_results`, or what it or `run_study` returned.
        arm: the trial's arm.
        seed: the trial's seed.
        scale: as for `load_results`; without effect where `study` is results.
        results: as for `load_results`; without effect where `study` is results.
        cache: the directory of checkpoints, as given to `cabench run --cache`.
        plugins: Python files that register the arm's methods or backbone. Only these are executed.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto".

    Raises:
        CabenchError: no such arm or seed; the trial failed or has not run; its checkpoint is not in
            the cache (the message names the command that trains it) or belongs to another version
            of a method.

    Example:
        >>> model = cabench.load_model("layer_placement", "can-3", seed=0)
        >>> images = cabench.sample(model, label="Sneaker", n=8)
    """
    run = _run(study, scale, results)
    store = Store(run.store.results, Path(cache), run.store.reference)
    record = record_of(run, store, arm, seed)
    name = f"{run.name}:{arm}, seed {seed}"
    load_plugins(read_plugins(map(Path, plugins)))
    check_versions(name, record.spec.train)
    device = pick_device(device)
    spec = record.spec
    path = store.checkpoint(spec)
    if load(path) is None:
        raise CabenchError(
            f"{name}: its checkpoint is not in {store.cache} ({record.checkpoint}); train it with: "
            f"{training_command(run, record, store)}"
        )
    guide = _guide(spec, store)
    text = spec.train.text
    protocol_vae = record.protocol.vae if record.protocol else None
    return TrainedModel(
        name=name,
        network=load_ema(spec.train.model, path, device),
        spec=spec,
        classes=dict(run.manifest.classes),
        vae=None if protocol_vae is None else VaeSource(**protocol_vae),
        guide=None if guide is None else load_ema(spec.train.model, guide, device),
        text_path=None if text is None else _text_path(run, text.encoder),
    )


def sample(
    model: TrainedModel,
    label: Any = None,
    n: int = 1,
    *,
    conditions: Conditions | None = None,
    guidance: float | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int | None = None,
) -> Tensor:
    """Images of a trained network, (L * n, C, H, W) uint8 on the CPU for L labels.

    What is not given is that of the trial: with the labels of `cabench.samples`, the images are its
    saved ones, to the bit on the machine and libraries that drew them. The noise of image i depends
    on the seed and i alone. A network on the CPU samples on one thread, as in a trial.

    Args:
        model: of `load_model`.
        label: a class by name or number, or a sequence of them. Default: every class in order.
        n: images of each label; those of a label follow one another.
        conditions: values of further streams by name, one or one for each label: classes, texts,
            standardised numbers (D,) or maps (C, H, W) uint8.
        guidance: scale of the guidance; 1 is none.
        steps: of the solver.
        sampler: "dpmpp_2m", "unipc", "ddim" or "ddpm".
        seed: of the noise. Default: the trial's seed.

    Raises:
        CabenchError: a condition, an option or the number of steps is not possible.

    Example:
        >>> images = cabench.sample(model, label=["Sneaker", "Bag"], n=4, guidance=2, seed=1)
        >>> images.shape
        torch.Size([8, 1, 16, 16])
    """
    spec, options = model.spec, model.spec.sample
    if label is not None and LABEL in (conditions or {}):
        raise CabenchError("label: given twice, by itself and in conditions")
    given = {**({} if label is None else {LABEL: label}), **(conditions or {})}
    guidance = spec.guidance if guidance is None else _number("guidance", guidance)
    sampler = options.sampler if sampler is None else sampler
    if sampler not in sampling.SAMPLERS:
        known = list(sampling.SAMPLERS)
        hint = near(str(sampler), known)
        raise CabenchError(f"sampler: expected {listed(known)}, got {shown(sampler)}{hint}")
    if guidance != 1 and options.autoguidance is not None and model.guide is None:
        raise CabenchError(
            f"{model.name}: its samples are guided by a network at {options.autoguidance:,} "
            "images, which is not there; expected guidance 1"
        )
    streams = streams_of(spec.train, model.classes, given, _count("n", n), model.text_path)
    device = str(model.device)
    decode = to_uint8 if model.vae is None else VAE.of(model.vae, device).decode
    with one_thread():
        return sampling.sample(
            model.network,
            Process(spec.train.diffusion.prediction, spec.train.diffusion.schedule),
            lambda index: take(streams, index),
            length(streams),
            spec.train.model.backbone.shape,
            seed=spec.train.seed if seed is None else _count("seed", seed, least=0),
            sampler=sampler,
            steps=options.steps if steps is None else _count("steps", steps),
            guidance=guidance,
            interval=options.guidance_interval,
            weak=None if guidance == 1 else model.guide,
            batch=options.batch,
            device=device,
            decode=decode,
        )


def samples(
    study: str | Path | StudyResults,
    arm: str,
    seed: int = 0,
    *,
    guidance: float | None = None,
    scale: str | None = None,
    results: str | Path = RESULTS,
    cache: str | Path = CACHE,
) -> SavedSamples:
    """The samples that a trial was scored with, from the cache, with their labels.

    Args:
        study: as for `load_model`.
        arm: the trial's arm.
        seed: the trial's seed.
        guidance: one of the guidance values that the trial has samples of. Default: the primary.
        scale: as for `load_model`.
        results: as for `load_model`.
        cache: the directory of samples, as given to `cabench run --cache`.

    Raises:
        CabenchError: as `load_model`; no samples at this guidance; the data changed since the run.

    Example:
        >>> images, labels = cabench.samples("layer_placement", "can-3", seed=0)
    """
    run = _run(study, scale, results)
    store = Store(run.store.results, Path(cache), run.store.reference)
    record = record_of(run, store, arm, seed)
    spec, name = record.spec, f"{run.name}:{arm}, seed {seed}"
    guidance = spec.guidance if guidance is None else _number("guidance", guidance)
    measured = (spec.guidance, *spec.sweep)
    if guidance not in measured:
        text = listed(f"{value:g}" for value in measured)
        raise CabenchError(f"{name}: guidance: expected {text}, got {guidance:g}")
    saved = load(store.samples(spec.sample_key(guidance)))
    if saved is None:
        raise CabenchError(
            f"{name}: its samples are not in {store.cache}; draw them with: "
            f"{training_command(run, record, store)}"
        )
    with cache_at(store.cache):
        dataset = find_dataset(run, scale_of(run), without_draw(spec.train.data))
    split = drawn(dataset, spec.train.data).split("report")
    labels = report_labels(split.streams[LABEL], spec.sample.n)
    return SavedSamples(saved[0]["images"], torch.from_numpy(labels))


# ---- trials on disk -----------------------------------------------------------------------------


def record_of(run: Run, store: Store, arm: str, seed: int) -> Record:
    """The complete record of a trial; CabenchError names what exists."""
    arms = [entry.name for entry in run.manifest.run_arms]
    if arm not in arms:
        raise CabenchError(
            f"no arm {shown(arm)}{near(str(arm), arms)} in {run.name}; its arms: {listed(arms)}"
        )
    keys = {trial.seed: trial.key for trial in run.manifest.trials if trial.arm == arm}
    if seed not in keys:
        raise CabenchError(
            f"{run.name}:{arm}: no seed {shown(seed)}; its seeds: {listed(map(str, keys))}"
        )
    record = store.record(keys[seed])
    if record is None:
        text = f"{run.name}:{arm}: seed {seed} has not run; run it with: {command(run.manifest)}"
        raise CabenchError(text)
    if not record.complete:
        raise CabenchError(f"{run.name}:{arm}: seed {seed} failed: {record.error}")
    return record


def training_command(run: Run, record: Record, store: Store) -> str:
    """The command that trains a trial whose record exists and whose checkpoint is gone.

    Only trials without a record are trained, so it names a directory of results without this one.
    """
    seed = record.spec.train.seed
    once = {"seeds": (seed,), "design": ManifestDesign()}
    words = command(run.manifest.model_copy(update=once))
    folders = (RESULTS, Path("retrained"), *(Path(f"retrained-{i}") for i in range(2, 100)))
    fresh = next(
        path for path in folders if not Store(path, store.cache).record_path(record.key).exists()
    )
    if fresh != RESULTS:
        words += f" --results {fresh}"
    return words if store.cache == CACHE else f"{words} --cache {store.cache}"


def _run(study: str | Path | StudyResults, scale: str | None, results: str | Path) -> Run:
    if isinstance(study, StudyResults):
        return study.run
    return find_run(Path(results), str(study), scale, or_reference=True)


def check_versions(name: str, spec: TrainSpec) -> None:
    """CabenchError where the code of a method or backbone is not that of the training."""
    parts = [("backbone", BACKBONES, spec.model.backbone)]
    parts += [("method", METHODS, method) for method in spec.model.methods]
    for what, registry, part in parts:
        if part.kind not in registry and part.plugin is not None:
            text = f"{what} '{part.kind}' is a plugin's; give the file: plugins, or --plugin FILE"
            raise CabenchError(f"{name}: {text}")
        now = versioned(registry.get(part.kind))
        if now.get("plugin") != part.plugin:
            raise CabenchError(f"{name}: the plugin of '{part.kind}' changed since the training")
        if now["version"] != part.version:
            raise CabenchError(
                f"{name}: trained with version {part.version} of {what} '{part.kind}', this "
                f"cabench has version {now['version']}"
            )


def _guide(spec: TrialSpec, store: Store) -> Path | None:
    """The snapshot of the network that guides the trial's samples, if it has one that exists."""
    images, train = spec.sample.autoguidance, spec.train
    if images is None:
        return None
    seen = marks(train.training.batch, images, images)[-1]
    folders = [store.training(each.key) for each in (train, train.trunk) if each is not None]
    paths = [snapshot_path(folder, seen) for folder in folders]
    return next((path for path in paths if load(path) is not None), None)


def _text_path(run: Run, encoder: str) -> str | None:
    """Where the scale of the run has the weights of the text encoder."""
    choices = [choice.text for choice in scale_of(run).data if choice.text is not None]
    return next((text.path for text in choices if text.encoder == encoder), None)


# ---- arguments ----------------------------------------------------------------------------------


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CabenchError(f"{name}: expected a number, got {shown(value)}")
    return float(value)


def _count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CabenchError(f"{name}: expected an integer of at least {least}, got {shown(value)}")
    return value
