"""One trial: train -> sample -> score -> cost -> record. The one place where all parts meet."""

from __future__ import annotations

import errno
import json
import platform
import resource
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from cabench import metrics
from cabench.cost.macs import cost
from cabench.data import load_dataset
from cabench.diagnostics import last_point
from cabench.diffusion import Process, sample, to_uint8
from cabench.errors import DISK, describe
from cabench.metrics.scorer import SampleScorer
from cabench.plan import Trial
from cabench.plugins import load_plugins
from cabench.registry import BACKBONES, METRICS
from cabench.resolve import DataRef
from cabench.store import CURVES, LOG, NEAR, SHEET, Store, atomic_path, write_json
from cabench.training import load, load_ema, save, train, whole
from cabench.vae import VAE

SHEET_ROWS = 8  # samples of each class beside a record
SHEET_LIMIT = 100_000  # bytes
PAIRS = 10  # samples beside a record that come nearest to training pictures, with these
SHEET_CLASSES, SHEET_SIDE = 20, 64  # at most so many columns, of pictures so many pixels wide

Progress = Callable[[str, float, str], None]  # stage, part done in [0, 1], a short note


@lru_cache(maxsize=2)
def _dataset(source: str, options: str) -> Any:
    return load_dataset(source, **json.loads(options))


@lru_cache(maxsize=1)
def _vae(path: str, device: str, sha256: str, scale: float, shift: float) -> VAE:
    return VAE(path, device, sha256, scale, shift)


@lru_cache(maxsize=2)
def _scorer(
    source: str, options: str, n: int, cache: Path, chosen: tuple[str, ...]
) -> SampleScorer:
    return SampleScorer(_dataset(source, options), n, cache, metrics=chosen)


def run_trial(trial: Trial, store: Store, device: str = "cpu",
              progress: Progress = lambda *_: None) -> dict[str, Any]:  # fmt: skip
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
    where = spec["train"]["data"]["source"], json.dumps(trial.data_options, sort_keys=True)
    dataset = _dataset(*where)
    if dataset.fingerprint != spec["train"]["data"]["fingerprint"]:
        raise OSError(errno.EIO, f"data '{where[0]}' changed since the study was read")

    chosen = spec["score"]["metrics"]
    by_samples = tuple(metrics.needing("samples", chosen))
    scorer = _scorer(*where, spec["sample"]["n"], store.cache, by_samples)

    images = spec["images"]
    snapshot = train(
        spec["train"], images, dataset, store.training(trial.train_key),
        device=device, **trial.snapshots,
        progress=lambda seen, loss: progress("train", min(1, seen / images), f"loss {loss:.4f}"),
    )  # fmt: skip
    _, told = whole(snapshot)
    timing |= {"train_s": told["seconds"], "train_images_per_s": images / told["seconds"]}

    progress("score", 0.0, "real pictures")
    began = time.perf_counter()
    scorer.prepare()
    timing["reference_s"] = time.perf_counter() - began
    measured, near = score_samples(trial, store, snapshot, scorer, device, progress, timing)
    model = load_ema(spec["train"], snapshot, device)
    measured |= score_model(trial, model, dataset, device)

    write_json(store.beside(trial.key, CURVES), told["curve"])
    backbone = spec["train"]["model"]["backbone"]
    tuning = {"tuning": trial.tuning} if trial.tuning is not None else {}
    vae = {} if dataset.vae is None else {"vae": dataset.vae}
    return {
        "metrics": measured,
        "protocol": scorer.protocol | tuning | vae | {
            "data": dataset.name, "backbone": BACKBONES.get(backbone["kind"]).describe(backbone),
            "training": training_line(spec["train"], trial.tuning is not None),
            "images": images, "guidance": spec["guidance"], **spec["sample"],
            "floor": scorer.floor(), "heldout_split": "report",
            "heldout_pictures": spec["score"]["heldout"]["images"],
            "sheet": write_drawn(trial, store, dataset, scorer),
        },
        "cost": cost(spec["train"]["model"]),
        "timing": timing | {"peak_rss_mb": peak_rss_mb()},
        "diagnostics": {
            "weights": last_point(told["curve"].get("weights", {})), "neighbours": near,
        },
    }  # fmt: skip


def score_samples(
    trial: Trial, store: Store, snapshot: Path, scorer: SampleScorer, device: str,
    progress: Progress, timing: dict[str, float],
) -> tuple[dict[str, float], dict[str, Any]]:  # fmt: skip
    """Scores at the primary guidance ('kid') and at the swept ones ('kid/g2'); neighbours."""
    measured: dict[str, float] = {}
    near: dict[str, Any] = {}
    for guidance in [trial.spec["guidance"], *trial.spec["sweep"]]:
        suffix = "" if guidance == trial.spec["guidance"] else f"/g{guidance:g}"
        began = time.perf_counter()
        drawn = draw(trial, store, snapshot, scorer, guidance, device, progress)
        timing[f"sample_s{suffix}"] = time.perf_counter() - began
        progress("score", 0.5, f"guidance {guidance:g}")
        began = time.perf_counter()
        scores = scorer.score(drawn, scorer.labels)
        timing[f"score_s{suffix}"] = time.perf_counter() - began
        measured |= {f"{name}{suffix}": value for name, value in scores.items()}
        if not suffix:
            near = write_neighbours(store.beside(trial.key, NEAR), drawn, scorer)
    return measured, near


def write_neighbours(path: Path, images: np.ndarray, scorer: SampleScorer) -> dict[str, Any]:
    """How near the samples come to training pictures, and a PNG of the nearest above theirs."""
    found = scorer.neighbours(scorer.features(images)["1280"])
    first = np.argsort(found["distance"], kind="stable")[:PAIRS]
    trained = scorer.dataset.split("generator-train").images[found["index"][first]]
    both = np.concatenate([images[first], trained])
    rows = np.tile(np.arange(len(first)), 2)
    layout = write_sheet(path, both, rows, len(first), 2)
    return {name: found[name] for name in ("memorised", "ratio", "of")} | {"sheet": layout}


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


def draw(trial: Trial, store: Store, snapshot: Path, scorer: SampleScorer, guidance: float,
         device: str, progress: Progress) -> np.ndarray:  # fmt: skip
    """The samples (n, C, H, W) uint8 of one guidance value: from the cache, or drawn and kept."""
    path = store.samples(trial.sample_key(guidance))
    if (kept := load(path)) is not None:
        return kept[0]["images"].numpy()
    spec, drawing = trial.spec["train"], trial.spec["sample"]
    n, needed = drawing["n"], spec["model"]["embedder"]["classes"]
    told = {name: torch.from_numpy(scorer.conditions[name]) for name in needed}
    vae = scorer.dataset.vae
    images = sample(
        load_ema(spec, snapshot, device), Process(**spec["diffusion"]), told,
        tuple(spec["model"]["backbone"]["shape"]), seed=spec["seed"],
        sampler=drawing["sampler"], steps=drawing["steps"], guidance=guidance,
        batch=drawing["batch"], device=device,
        progress=lambda done: progress("sample", done / n, f"guidance {guidance:g}"),
        decode=to_uint8 if vae is None else _vae(device=device, **vae).decode,
    )  # fmt: skip
    save(path, {"images": images})
    return images.numpy()


def write_drawn(
    trial: Trial, store: Store, dataset: Any, scorer: SampleScorer
) -> dict[str, int]:
    """The sheet of the primary samples beside the record; returns its layout."""
    tensors, _ = whole(store.samples(trial.sample_key(trial.spec["guidance"])))
    path, classes = store.beside(trial.key, SHEET), len(dataset.classes["label"])
    return write_sheet(path, tensors["images"].numpy(), scorer.labels, classes)


def write_real(path: Path, data: DataRef) -> None:
    """The sheet of real pictures that a study's samples are shown beside."""
    dataset = load_dataset(data.source, **data.options)
    report = dataset.split("report")
    labels = report.streams["label"]
    write_sheet(path, report.images, labels, len(dataset.classes["label"]))


def write_sheet(
    path: Path, images: np.ndarray, labels: np.ndarray, classes: int, rows: int = SHEET_ROWS
) -> dict[str, int]:
    """A PNG with one column a class and as many rows as fit the limit; returns its layout.

    images (n, C, H, W) uint8, labels (n,); cells of a class that has too few stay black.
    """
    classes = min(classes, SHEET_CLASSES)
    chosen = [np.flatnonzero(labels == c)[:rows] for c in range(classes)]
    columns = [smaller(images[found]) for found in chosen]
    _, channels, height, width = columns[0].shape
    while True:
        cells = np.zeros((rows, classes, height, width, channels), np.uint8)
        for c in range(classes):
            found = columns[c][:rows].transpose(0, 2, 3, 1)
            cells[: len(found), c] = found
        sheet = cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, classes * width, channels)
        with atomic_path(path) as part:
            Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet).save(
                part, format="PNG", optimize=True
            )
            size = part.stat().st_size
        if size <= SHEET_LIMIT or rows == 1:
            return {"rows": rows, "columns": classes, "height": height, "width": width}
        rows = max(1, rows * SHEET_LIMIT // size)


def smaller(images: np.ndarray) -> np.ndarray:
    """(n, C, H, W) uint8, averaged over squares where they are wider than SHEET_SIDE."""
    n, channels, height, width = images.shape
    by = -(-max(height, width) // SHEET_SIDE)
    if by == 1:
        return images
    height, width = height // by, width // by
    squares = images[:, :, : height * by, : width * by].reshape(n, channels, height, by, width, by)
    return np.rint(squares.mean((3, 5), dtype=np.float64)).astype(np.uint8)


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
        "python": platform.python_version(), "system": platform.system(),
        "processor": processor(), "device": device, "threads": torch.get_num_threads(),
        "packages": {name: packages.version(name) for name in names},
    }  # fmt: skip
