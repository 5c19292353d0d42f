"""Made-up studies: manifest, records and curves as they lie on disk, drawn from a seeded RNG."""

from __future__ import annotations

import numpy as np
from PIL import Image

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
JUDGE = "efficientnet-lite0-64 sha256:9f3c21aa"
GRID = [7000 * k for k in range(1, 11)]


def make_study(names=None, seeds=3, failed=(), missing=(), rng_seed=0):
    """(manifest, records, curves); `failed` and `missing` hold (arm, seed) pairs."""
    rng = np.random.default_rng(rng_seed)
    names = list(names or ARMS)
    baseline = "native+dw" if "native+dw" in names else names[1]
    shared = rng.normal(0, 1, seeds)  # what a seed does to all arms alike
    manifest = {
        "study": "layer_placement",
        "question": "Which layers should be condition-aware?",
        "scale": "quick",
        "baseline": baseline,
        "primary": "kid",
        "arms": [
            {"name": n, "extra": n == "can-all", "bound": n == "static", "about": f"what {n} is"}
            for n in names
        ],
        "seeds": list(range(seeds)),
        "trials": [{"arm": n, "seed": s, "key": f"{n}@{s}"} for n in names for s in range(seeds)],
        "metrics": METRICS,
        "claims": [
            {
                "id": "C1",
                "says": "CAN on the three kinds of layer beats the static model",
                "better": "native+can-3",
                "than": baseline,
                "metric": "kid",
                "test": "superiority",
            },
            {
                "id": "C2",
                "says": "CAN alone beats the native method",
                "better": "can-3",
                "than": baseline,
                "metric": "kid",
                "test": "superiority",
            },
            {
                "id": "C3",
                "says": "The head is worth more than the attention's output",
                "better": "native+can-head",
                "than": "native+can-3",
                "metric": "kid",
                "test": "superiority",
            },
        ],
    }
    records, curves = {}, {}
    for i, name in enumerate(names):
        gain = 0 if name == baseline else rng.normal(-0.02, 0.03)
        gain = 0.6 if name == "static" else gain
        for s in range(seeds):
            key = f"{name}@{s}"
            if (name, s) in missing:
                continue
            if (name, s) in failed:
                error = "Traceback (most recent call last)\nDiverged: loss is not finite"
                records[key] = {"key": key, "status": "failed", "error": error, "spec": {"seed": s}}
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
            width = 7.4e6 * (1 + 0.03 * i)
            records[key] = {
                "key": key,
                "status": "complete",
                "error": None,
                "spec": {"seed": s},
                "metrics": metrics,
                "protocol": {
                    "n": 2000,
                    "guidance": 1.0,
                    "judge": JUDGE,
                    "steps": 20,
                    "images": 70000,
                    "floor": {"kid": 0.0004, "fid_lite0_112": 8.1, "condition_accuracy": 0.861},
                },
                "cost": {
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
                },
                "timing": {"train_images_per_s": 1900 - 40 * i + 10 * s, "train_s": 40.0},
                "environment": {},
            }
            fall = [0.35 * np.exp(-x / 9000) + 0.02 * np.exp(-x / 40000) for x in GRID]
            held = [
                0.2854 + (loss - 0.2854) * (1 - np.exp(-x / 20000)) + f + 5e-4 * rng.normal()
                for x, f in zip(GRID, fall, strict=True)
            ]
            curves[key] = {
                "images": GRID,
                "loss": [v - 0.002 for v in held],
                "heldout": {"images": GRID, "loss": held},
            }
    return manifest, records, curves


SITES = {  # by the end of an arm's name
    "dw": ["depthwise"],
    "pe": ["patch_embed", "depthwise"],
    "all": ["patch_embed", "attn_qkv", "attn_out", "ffn_in", "depthwise", "ffn_out", "head"],
}


def make_weights(name: str, rng_seed=0) -> dict:
    """What an arm's weight generators made while training, as beside a record; {} without any."""
    if "can" not in name:
        return {}
    rng = np.random.default_rng([rng_seed, *name.encode()])
    sites = SITES.get(name.split("-")[-1], ["patch_embed", "attn_out", "depthwise"])
    grown = 1 - np.exp(-np.array(GRID) / 20000)

    def history(i: int) -> dict:
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


LONG = [f"native+can-{i:02d}-depthwise+patch_embed+attn_out"[:40] for i in range(16)] + [
    f"can-{i:02d}-bottleneck16-all-sites-unshared-x"[:40] for i in range(14)
]


def make_spec(name: str, seed: int) -> dict:
    """What a trial's record says it is, for a made-up arm."""
    can = {
        "kind": "can",
        "version": 1,
        "options": {
            "source": ["timestep", "label"],
            "sites": ["depthwise", "patch_embed"],
            "generator": "linear",
            "rank": None,
            "shared": True,
            "bias": False,
        },
    }
    native = {"kind": "adaln_zero", "version": 1, "options": {"source": ["timestep", "label"]}}
    methods = [native] * name.startswith("native") + [can] * ("can" in name)
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
                "betas": [0.9, 0.999],
                "clip": None,
                "precision": "float32",
            },
            "diffusion": {"prediction": "v", "schedule": "cosine"},
            "seed": seed,
            "init_salt": "",
        },
        "images": 70000,
        "guidance": 1.0,
        "sweep": [2.0] if seed == 0 else [],
        "sample": {"recipe": 1, "sampler": "dpmpp_2m", "steps": 20, "n": 2000, "batch": 250},
        "score": {"heldout": {"images": 2000, "bins": 10, "repeats": 1}},
    }


def write_run(folder, manifest, records, curves, sheets=True, weights=False) -> Run:
    """The study as it lies on disk, in `folder`/results, with sample sheets of coloured noise."""
    rng = np.random.default_rng(0)
    store = Store(folder / "results", folder / "cache")
    arms = {trial["key"]: trial["arm"] for trial in manifest["trials"]}
    told = manifest | {
        "study_file": "studies/made.yaml",
        "study_sha256": "a9232d1b61e6ff5001b1",
        "classes": {"label": CLASSES},
        "plugins": [],
    }
    for key, record in records.items():
        record = record | {"key": key, "spec": make_spec(arms[key], record["spec"]["seed"])}
        if record["status"] == "complete":
            record["environment"] = {
                "python": "3.11.7",
                "system": "Linux",
                "processor": "EPYC",
                "device": "cpu",
                "threads": 1,
                "packages": {"cabench": "0.1.0", "torch": "2.15.0"},
            }
            if sheets:
                layout = {"rows": 4, "columns": 10, "height": 16, "width": 16}
                record["protocol"] = record["protocol"] | {"sheet": layout}
                noise = rng.integers(0, 256, (64, 160), dtype=np.uint8)
                path = store.beside(key, SHEET)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise).save(path)
        if curve := curves.get(key):
            if weights:
                seed = record["spec"]["train"]["seed"]
                curve = curve | {"weights": make_weights(arms[key], seed)}
            write_json(store.beside(key, CURVES), curve)
        store.write_record(record)  # with the checksums of what is beside it
    write_json(store.study_folder(told["study"], told["scale"]) / "manifest.json", told)
    return Run(told, store)
