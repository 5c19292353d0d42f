"""One trial: train -> sample -> score -> cost -> record. The one place where all parts meet."""

from __future__ import annotations

import errno
import json
import platform
import resource
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cabench import metrics
from cabench.cost.macs import cost
from cabench.data import load_dataset
from cabench.data.dataset import UNSEEN
from cabench.data.vae import VAE
from cabench.diffusion.process import Process, sample
from cabench.diffusion.training import Data, load, load_ema, save, train, whole
from cabench.diffusion.weight_diagnostics import last_point
from cabench.errors import DISK, describe
from cabench.execution import grids as sheets
from cabench.metrics.clip import Clip
from cabench.metrics.scorer import REFERENCE, SampleScorer
from cabench.models.streams import names_of
from cabench.planning.trials import Trial
from cabench.plugins import load_plugins
from cabench.records.store import CURVES, Store
from cabench.registry import BACKBONES, METRICS
from cabench.runtime.files import LOG, write_json
from cabench.runtime.images import to_uint8
from cabench.text import encoded, encoder

Progress = Callable[[str, float, str], None]  # stage, part done in [0, 1], a short note


Where = tuple[str, str, str, Path]  # source, options, how its texts are encoded, cache


@lru_cache(maxsize=1)
def _vae(path: str, device: str, sha256: str, scale: float, shift: float) -> VAE:
    return VAE(path, device, sha256, scale, shift)


@lru_cache(maxsize=2)
def _dataset(source: str, options: str, texts: str, cache: Path) -> Any:
    found = load_dataset(source, **json.loads(options))
    return with_texts(found, json.loads(texts), cache)


def with_texts(dataset: Any, told: dict[str, Any], cache: Path) -> Any:
    """The data set with its texts encoded; `told`: name, path, fingerprint, tokens, or nothing."""
    if not told:
        return dataset
    made = encoder(told["name"], told["path"])
    if made.fingerprint != told["fingerprint"]:
        raise OSError(errno.EIO, f"text encoder '{made.name}' changed since the study was read")
    return encoded(dataset, made, told["tokens"], cache)


def texts_of(train: dict[str, Any], assets: dict[str, Any]) -> dict[str, Any]:
    """What `with_texts` wants, of a training spec and of where this machine has the weights."""
    text = train.get("text")
    return {**assets["text"], **{k: text[k] for k in ("fingerprint", "tokens")}} if text else {}


@lru_cache(maxsize=4)
def _scorer(
    where: Where, n: int, chosen: tuple[str, ...], reference: str, clip: Clip | None
) -> SampleScorer:
    return SampleScorer(
        _dataset(*where), n, where[3], metrics=chosen, reference=reference, clip=clip
    )


@lru_cache(maxsize=1)
def _clip(path: str, template: str | None, fingerprint: str) -> Clip:
    made = Clip(path, template)
    if made.fingerprint != fingerprint:
        raise OSError(errno.EIO, f"the CLIP in {path} changed since the study was read")
    return made


def run_trial(
    trial: Trial, store: Store, device: str = "cpu", progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Measures what is missing and writes the record; an arm's error becomes a failed record.

    A full disk or a missing permission (OSError, DISK) is no arm's fault: it is raised.
    """
    with store.lock(trial.key):
        record = store.sound(trial.key)
        if record is not None and record["status"] == "complete":
            return record  # another process was quicker
        record = {"key": trial.key, "status": "complete", "error": None, "spec": trial.spec}
        record["environment"] = environment(device)
        began = time.perf_counter()
        try:
            load_plugins(trial.plugins)
            with store.lock(trial.train_key):
                record |= measure(trial, store, device, progress)
            record["timing"]["trial_s"] = time.perf_counter() - began
            return store.write_record(record)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # any fault of one arm must not end the study
            if isinstance(error, OSError) and error.errno in DISK:
                raise
            held = store.record(trial.key)
            if held is not None and held["status"] == "complete":  # a file beside it was lost
                LOG.warning("%s stays as it was: %s", trial.key, describe(error))
                return held
            return store.write_record(failed(record, describe(error)))


def failed(record: dict[str, Any], error: str) -> dict[str, Any]:
    parts = ("metrics", "protocol", "cost", "timing", "diagnostics")
    return record | {"status": "failed", "error": error} | {part: {} for part in parts}


def measure(trial: Trial, store: Store, device: str, progress: Progress) -> dict[str, Any]:
    """metrics, protocol, cost, timing, diagnostics of a trial."""
    spec, timing = trial.spec, {}
    scorers = scorers_of(trial, store, metrics.needing("samples", spec["score"]["metrics"]))
    scorer, dataset = scorers[0], scorers[0].dataset

    images = spec["images"]
    snapshot = train(
        spec["train"],
        images,
        dataset,
        store.training(trial.train_key),
        device=device,
        **trial.snapshots,
        progress=lambda seen, loss: progress("train", min(1, seen / images), f"loss {loss:.4f}"),
    )
    _, told = whole(snapshot)
    timing |= {"train_s": told["seconds"], "train_images_per_s": images / told["seconds"]}

    progress("score", 0.0, "real pictures")
    began = time.perf_counter()
    for each in scorers:
        each.prepare()
    timing["reference_s"] = time.perf_counter() - began
    measured: dict[str, float] = {}
    for each in scorers:
        measured |= score_samples(trial, store, snapshot, each, device, progress, timing)
    model = load_ema(spec["train"], snapshot, device)
    measured |= score_model(trial, model, dataset, device)

    write_json(store.beside(trial.key, CURVES), told["curve"])
    backbone = spec["train"]["model"]["backbone"]
    tuning = {"tuning": trial.tuning} if trial.tuning is not None else {}
    vae = {} if dataset.vae is None else {"vae": dataset.vae}
    return {
        "metrics": measured,
        "protocol": scorer.protocol
        | tuning
        | vae
        | {
            "data": dataset.name,
            "backbone": BACKBONES.get(backbone["kind"]).describe(backbone),
            "training": training_line(spec["train"], trial.tuning is not None),
            "images": images,
            "guidance": spec["guidance"],
            **spec["sample"],
            "floor": {k: v for s in scorers for k, v in floor_of(s).items()},
            "heldout_split": "report",
            "heldout_pictures": spec["score"]["heldout"]["images"],
            "sheet": sheets.beside(trial, store, scorers),
        },
        "cost": cost(spec["train"]["model"]),
        "timing": timing | {"peak_rss_mb": peak_rss_mb()},
        "diagnostics": {
            "weights": last_point(told["curve"].get("weights", {})),
            "neighbours": sheets.neighbours(trial, store, scorer),
        },
    }


def scorers_of(
    trial: Trial, store: Store, chosen: Iterable[str], clip: str | None = None
) -> list[SampleScorer]:
    """What scores a trial's samples by the chosen metrics; of a study with unseen ones two.

    clip: a folder or hub name of another CLIP than the study's, or of one where it has none.
    """
    spec = trial.spec
    where = (
        spec["train"]["data"]["source"],
        json.dumps(trial.data_options, sort_keys=True),
        json.dumps(texts_of(spec["train"], trial.assets), sort_keys=True),
        store.cache,
    )
    if _dataset(*where).fingerprint != spec["train"]["data"]["fingerprint"]:
        raise OSError(errno.EIO, f"data '{where[0]}' changed since the study was read")
    told = spec["score"].get("clip")
    made = Clip(clip) if clip else None
    if told and not clip:
        made = _clip(trial.assets["clip"], told["template"], told["fingerprint"])
    sets = {REFERENCE: spec["sample"]["n"]}
    if "unseen" in spec["score"]:
        sets[UNSEEN] = spec["score"]["unseen"]
    return [_scorer(where, n, tuple(chosen), split, made) for split, n in sets.items()]


def score_samples(
    trial: Trial,
    store: Store,
    snapshot: Path,
    scorer: SampleScorer,
    device: str,
    progress: Progress,
    timing: dict[str, float],
) -> dict[str, float]:
    """Scores at the primary guidance ('kid'), and at the swept ones ('kid/g2').

    On the split `unseen` ('kid/unseen') at the primary one alone.
    """
    measured: dict[str, float] = {}
    primary, seen = trial.spec["guidance"], scorer.reference == REFERENCE
    for guidance in [primary, *(trial.spec["sweep"] if seen else [])]:
        suffix = part_of(scorer) + ("" if guidance == primary else f"/g{guidance:g}")
        began = time.perf_counter()
        drawn = draw(trial, store, snapshot, scorer, guidance, device, progress)
        timing[f"sample_s{suffix}"] = time.perf_counter() - began
        progress("score", 0.5, f"guidance {guidance:g}")
        began = time.perf_counter()
        scores = scorer.score(drawn, scorer.labels)
        timing[f"score_s{suffix}"] = time.perf_counter() - began
        measured |= {f"{name}{suffix}": value for name, value in scores.items()}
    return measured


def part_of(scorer: SampleScorer) -> str:
    """What ends the names of a scorer's scores: nothing, or '/unseen'."""
    return "" if scorer.reference == REFERENCE else f"/{scorer.reference}"


def floor_of(scorer: SampleScorer) -> dict[str, float]:
    return {name + part_of(scorer): value for name, value in scorer.floor().items()}


def score_model(trial: Trial, model: nn.Module, dataset: Any, device: str) -> dict[str, float]:
    """Scores of the averaged network itself."""
    train_spec, told = trial.spec["train"], trial.spec["score"]
    process = Process(**train_spec["diffusion"])
    measured: dict[str, float] = {}
    for name in metrics.needing("model", told["metrics"]):
        metric = METRICS.get(name)
        measured |= metric.compute(model, process, dataset, told["heldout"], device)
    return measured


def training_line(train: dict[str, Any], tuned: bool) -> str:
    recipe, diffusion = train["training"], train["diffusion"]
    return (
        f"{diffusion['prediction']} prediction, {diffusion['schedule']} schedule, AdamW "
        f"{'at a rate searched for each arm' if tuned else format(recipe['lr'], 'g')}, "
        f"batch {recipe['batch']}"
    )


def draw(
    trial: Trial,
    store: Store,
    snapshot: Path,
    scorer: SampleScorer,
    guidance: float,
    device: str,
    progress: Progress,
) -> np.ndarray:
    """The samples (n, C, H, W) uint8 of one guidance value: from the cache, or drawn and kept."""
    path = store.samples(trial.sample_key(guidance, scorer.reference))
    if (kept := load(path)) is not None:
        return kept[0]["images"].numpy()
    spec, drawing, n = trial.spec["train"], trial.spec["sample"], scorer.n
    real = Data(scorer.dataset.split(scorer.reference), names_of(spec["model"]["embedder"]))
    told, vae = real.told(torch.from_numpy(scorer.rows)), scorer.dataset.vae
    images = sample(
        load_ema(spec, snapshot, device),
        Process(**spec["diffusion"]),
        told,
        tuple(spec["model"]["backbone"]["shape"]),
        seed=spec["seed"],
        sampler=drawing["sampler"],
        steps=drawing["steps"],
        guidance=guidance,
        batch=drawing["batch"],
        device=device,
        progress=lambda done: progress("sample", done / n, f"guidance {guidance:g}"),
        decode=to_uint8 if vae is None else _vae(device=device, **vae).decode,
    )
    save(path, {"images": images})
    return images.numpy()


def peak_rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment(device: str) -> dict[str, Any]:
    names = ("cabench", "torch", "numpy", "diffusers", "torch-fidelity", "onnxruntime", "fvcore")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor(),
        "device": device,
        "threads": torch.get_num_threads(),
        "packages": {name: packages.version(name) for name in names},
    }
