"""Made-up studies: manifest, records and curves as on disk, from a seeded generator.

Tests edit the plain documents, then read them as `Results`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cabench.evidence.results import Results
from cabench.records.reading import read_manifest, read_record
from cabench.records.runs import Run
from cabench.records.store import CURVES, SHEET, Store
from cabench.runtime.files import write_json

ARMS = [
    "static",
    "native",
    "native+dw",
    "native+can-dw",
    "native+can-dw-pe",
    "native+can-3",
    "can-dw",
    "can-dw-pe",
    "can-3",
    "can-3-bottleneck",
    "can-all",
    "native+dw-wide",
]
LONG = [f"native+can-{i:02d}-depthwise+patch_embed+attn_out"[:40] for i in range(16)] + [
    f"can-{i:02d}-bottleneck16-all-sites-unshared-x"[:40] for i in range(14)
]
METRICS = {
    "kid": {"label": "KID@2000", "higher_is_better": False, "scale": 1000.0},
    "fid_lite0_112": {"label": "FID-lite0-112@2000", "higher_is_better": False},
    "condition_accuracy": {"label": "condition accuracy", "higher_is_better": True},
    "heldout_loss": {"label": "held-out loss", "higher_is_better": False},
}
CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
IMAGES = 70000  # seen in training
GRID = [7000 * k for k in range(1, 11)]  # images at the points of a curve
ERROR = "Traceback (most recent call last)\nDiverged: loss is not finite"
Document = dict[str, Any]
Pairs = Collection[tuple[str, int]]  # of arm and seed


@dataclass
class MadeStudy:
    """Plain documents, free to be edited."""

    manifest: Document
    records: dict[str, Document]  # by key, 'ARM@SEED'
    curves: dict[str, Document]

    def results(self) -> Results:
        return read_results(self.manifest, self.records, self.curves)


def read_results(
    manifest: Document, records: dict[str, Document], curves: dict[str, Document] | None = None
) -> Results:
    """Plain documents as `Results`; raises CabenchError where they are not valid."""
    return Results(
        read_manifest(manifest, Path("manifest.json")),
        {key: read_record(record, Path(f"{key}.json")) for key, record in records.items()},
        curves or {},
    )


def make_study(
    names: Iterable[str] | None = None,
    seeds: int = 3,
    failed: Pairs = (),
    missing: Pairs = (),
    rng_seed: int = 0,
) -> MadeStudy:
    """A study of these arms, where some trials failed or are missing."""
    rng = np.random.default_rng(rng_seed)
    names = list(names or ARMS)
    baseline = "native+dw" if "native+dw" in names else names[1]
    shared = rng.normal(0, 1, seeds)  # the effect of a seed on all arms alike
    manifest = make_manifest(names, baseline, range(seeds), METRICS, make_claims(baseline))
    study = MadeStudy(manifest, {}, {})
    for i, name in enumerate(names):
        gain = 0 if name == baseline else rng.normal(-0.02, 0.03)
        gain = 0.6 if name == "static" else gain
        for s in range(seeds):
            key = f"{name}@{s}"
            if (name, s) in missing:
                continue
            if (name, s) in failed:
                study.records[key] = make_failed(name, s)
                continue
            loss = 0.2854 * (1 + gain) + 0.004 * shared[s] + 0.0006 * rng.normal()
            metrics = {
                "kid": 0.0123 * (1 + 6 * gain) + 6e-4 * shared[s] + 3e-4 * rng.normal(),
                "fid_lite0_112": 41.3 * (1 + 4 * gain) + shared[s] + 0.5 * rng.normal(),
                "condition_accuracy": 0.81 - gain + 0.004 * rng.normal(),
                "heldout_loss": loss,
                "train_loss": loss - 0.004,
            }
            for b in range(10):
                metrics[f"heldout_loss/bin{b}"] = loss * (1.6 - 0.12 * b) + 0.001 * rng.normal()
            if s == 0:
                metrics |= {"kid/g2": metrics["kid"] * 1.4, "condition_accuracy/g2": 0.95}
            timing = {"train_images_per_s": 1900 - 40 * i + 10 * s, "train_s": 40.0}
            study.records[key] = make_record(name, s, metrics, make_cost(i), timing)
            study.curves[key] = make_curves(loss, rng)
    return study


def make_claims(baseline: str) -> list[Document]:
    """Two claims that can be tested, and one about an arm that is not run."""
    texts = {
        "C1": ("CAN at three kinds of layer beats the static model", "native+can-3", baseline),
        "C2": ("CAN alone beats the native method", "can-3", baseline),
        "C3": (
            "The head is worth more than the attention's output",
            "native+can-head",
            "native+can-3",
        ),
    }
    return [
        make_claim(better, than, id=name, says=says) for name, (says, better, than) in texts.items()
    ]


def make_claim(better: str, than: str, metric: str | list[str] = "kid", **parts: Any) -> Document:
    defaults = {"id": "C", "says": "...", "test": "superiority"}
    return defaults | {"better": better, "than": than, "metric": metric} | parts


def make_manifest(
    names: Sequence[str],
    baseline: str,
    seeds: Iterable[int],
    metrics: dict[str, Document],
    claims: Sequence[Document] = (),
) -> Document:
    seeds = list(seeds)
    return {
        "study": "layer_placement",
        "question": "Which layers should be condition-aware?",
        "scale": "quick",
        "study_file": "studies/example.yaml",
        "study_sha256": "a9232d1b61e6ff5001b1",
        "backbone": "dit",
        "baseline": baseline,
        "primary": "kid",
        "arms": [
            {"name": n, "extra": n == "can-all", "bound": n == "static", "about": f"what {n} is"}
            for n in names
        ],
        "seeds": seeds,
        "trials": [{"arm": n, "seed": s, "key": f"{n}@{s}"} for n in names for s in seeds],
        "metrics": {name: dict(info) for name, info in metrics.items()},
        "classes": {"label": CLASSES},
        "claims": list(claims),
        "caveat": "",
        "plugins": [],
        "tuning": {},
        "added": [],
    }


# ---- records -----------------------------------------------------------------------------------


def make_record(
    name: str,
    seed: int,
    metrics: dict[str, float],
    cost: Document | None = None,
    timing: dict[str, float] | None = None,
) -> Document:
    """The record of a complete trial."""
    return {
        "key": f"{name}@{seed}",
        "status": "complete",
        "error": None,
        "spec": make_spec(name, seed),
        "environment": {
            "python": "3.11.7",
            "system": "Linux",
            "processor": "EPYC",
            "device": "cpu",
            "threads": 1,
            "packages": {"cabench": "0.1.0", "torch": "2.15.0"},
        },
        "metrics": dict(metrics),
        "protocol": make_protocol(),
        "cost": cost or {},
        "timing": timing or {},
        "diagnostics": {},
    }


def make_failed(name: str, seed: int, error: str = ERROR) -> Document:
    """The record of a failed trial."""
    empty = {part: {} for part in ("environment", "metrics", "protocol", "cost", "timing")}
    record = make_record(name, seed, {})
    return record | empty | {"status": "failed", "error": error, "diagnostics": {}}


def make_cost(i: int) -> Document:
    """The cost of the i-th arm: parameters and conditioning MACs grow with i."""
    width = 7.4e6 * (1 + 0.03 * i)
    return {
        "macs": {
            "backbone": int(width),
            "conditioning": int(2e5 * i),
            "total": int(width + 2e5 * i),
            "counter": "fvcore",
        },
        "params": {
            "backbone": 200_000,
            "embedder": 20_000,
            "methods": 90_000 * i,
            "total": 220_000 + 90_000 * i,
        },
    }


def make_protocol() -> Document:
    return {
        "n": 2000,
        "metrics": {"kid": 1, "fid_lite0_112": 1, "condition_accuracy": 1},
        "judge": "efficientnet-lite0-64",
        "judge_fingerprint": "9f3c21aa" * 8,
        "judge_resize": "bicubic to 64 px",
        "reference": {"split": "report", "labels": "all"},
        "floor": {"kid": 0.0004, "fid_lite0_112": 8.1, "condition_accuracy": 0.861},
        "kid": {"kid_subsets": 10},
        "fid": {},
        "probe": {"kind": "logistic regression", "version": 1},
        "data": "fashion16",
        "backbone": "dit 4 deep, 64 wide",
        "training": "v prediction, cosine schedule",
        "images": IMAGES,
        "guidance": 1.0,
        "recipe": 1,
        "sampler": "dpmpp_2m",
        "steps": 20,
        "batch": 250,
        "heldout_split": "report",
        "heldout_pictures": 2000,
        "sheet": {"rows": 4, "columns": 10, "height": 16, "width": 16},
    }


def make_spec(name: str, seed: int) -> Document:
    """The spec of an arm's trial: its methods follow from its name."""
    native = {"kind": "adaln_zero", "version": 1, "options": {"source": ["timestep", "label"]}}
    methods = [native] if name.startswith("native") else []
    if "can" in name:
        methods.append({"kind": "can", "version": 1, "options": make_can_options()})
    return {
        "train": {
            "recipe": 1,
            "model": {
                "backbone": {
                    "kind": "dit",
                    "version": 1,
                    "shape": [1, 16, 16],
                    "depth": 4,
                    "width": 64,
                    "ffn_hidden": 1024 if "wide" in name else 256,
                },
                "embedder": {
                    "version": 1,
                    "normalise": True,
                    "width": 64,
                    "classes": {"label": 10},
                },
                "methods": methods,
            },
            "data": {"source": "fashion16", "fingerprint": "7e98d6ff0d424c2f3043", "flip": False},
            "training": {
                "batch": 16,
                "lr": 0.0015,
                "warmup": 2000,
                "ema_half_life": 4000,
                "label_dropout": 0.1,
                "betas": [0.9, 0.999],
                "weight_decay": 0.0,
                "clip": None,
                "precision": "float32",
            },
            "diffusion": {"prediction": "v", "schedule": "cosine"},
            "seed": seed,
            "init_salt": "",
        },
        "images": IMAGES,
        "guidance": 1.0,
        "sweep": [2.0] if seed == 0 else [],
        "sample": {"recipe": 1, "sampler": "dpmpp_2m", "steps": 20, "n": 2000, "batch": 250},
        "score": {
            "judge": "9f3c21aa" * 8,
            "metrics": {"kid": 1, "fid_lite0_112": 1, "condition_accuracy": 1},
            "heldout": {"images": 2000, "bins": 10, "repeats": 1},
            "probe": 1,
            "cost": 1,
        },
    }


def make_can_options() -> Document:
    return {
        "source": ["timestep", "label"],
        "sites": ["depthwise", "patch_embed"],
        "generator": "linear",
        "rank": None,
        "shared": True,
        "bias": False,
    }


# ---- curves ------------------------------------------------------------------------------------


def make_curves(loss: float, rng: np.random.Generator) -> Document:
    """Losses that fall to `loss`."""
    fall = [0.35 * np.exp(-x / 9000) + 0.02 * np.exp(-x / 40000) for x in GRID]
    heldout = [
        0.2854 + (loss - 0.2854) * (1 - np.exp(-x / 20000)) + f + 5e-4 * rng.normal()
        for x, f in zip(GRID, fall, strict=True)
    ]
    return {
        "images": GRID,
        "loss": [value - 0.002 for value in heldout],
        "heldout": {"images": GRID, "loss": heldout},
    }


SITES = {  # by the end of an arm's name
    "dw": ["depthwise"],
    "pe": ["patch_embed", "depthwise"],
    "all": ["patch_embed", "attn_qkv", "attn_out", "ffn_in", "depthwise", "ffn_out", "head"],
}


def make_weights(name: str, rng_seed: int = 0) -> Document:
    """Measures of an arm's generated weights, as beside a record; {} without generators."""
    if "can" not in name:
        return {}
    rng = np.random.default_rng([rng_seed, *name.encode()])
    sites = SITES.get(name.split("-")[-1], ["patch_embed", "attn_out", "depthwise"])
    grown = 1 - np.exp(-np.array(GRID) / 20000)

    def history(i: int) -> Document:
        static = 4 + i + 0.5 * grown
        spread = grown * rng.uniform(0.2, 0.4)
        lists = {
            "static": static,
            "generated": static * grown * rng.uniform(0.2, 0.6 + 0.3 * i),
            "spread_class": spread,
            "spread_time": spread * rng.uniform(0.3, 1),
            "effective_rank": rng.uniform(9, 14) - 3 * grown,
        }
        return {measure: values.round(6).tolist() for measure, values in lists.items()}

    return {"images": GRID, "sites": {site: history(i) for i, site in enumerate(sites)}}


# ---- on disk -----------------------------------------------------------------------------------


def write_run(folder: Path, study: MadeStudy, weights: bool = False) -> Run:
    """Write the study into `folder`/results, with sample grids of noise beside the records."""
    rng = np.random.default_rng(0)
    store = Store(folder / "results", folder / "cache")
    for key, record in study.records.items():
        arm, _, seed = key.rpartition("@")
        if record["status"] == "complete":
            noise = rng.integers(0, 256, (64, 160), dtype=np.uint8)
            path = store.beside(key, SHEET)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).save(path)
        if curves := study.curves.get(key):
            if weights:
                curves = curves | {"weights": make_weights(arm, int(seed))}
            write_json(store.beside(key, CURVES), curves)
        store.write_record(record)  # with the checksums of the files beside it
    manifest = study.manifest
    folder = store.study_folder(manifest["study"], manifest["scale"])
    write_json(folder / "manifest.json", manifest)
    return Run(read_manifest(manifest, folder), store)
