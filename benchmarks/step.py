"""The share of one thread's matmul peak that a training step reaches, and what raises it.

    python benchmarks/step.py [--rounds 9] [--forms float32,...] [--models "S/2, 64 tokens"]
        [--give-back] [--csv FILE]

Ratios of alternating work in one run, on one thread. A step is a trial's: noise, forward, backward,
AdamW, EMA. It counts as three times the MACs of a forward pass. `torch's gelu` is the step without
cabench.models.activations. With --give-back, freed memory returns to the system, as is glibc's
default (see cabench.runtime.threads.keep_memory).
"""

from __future__ import annotations

import argparse
import csv
import time
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from cabench.cost.macs import meta_macs
from cabench.cost.published import Published, published_spec
from cabench.cost.timing import Work, alternate, trainer_of
from cabench.models.activations import gelu_tanh
from cabench.models.backbones import dit
from cabench.records.spec import ModelSpec
from cabench.runtime import threads as process

SIDE = 1024  # of the matrices that measure the peak
MODELS = {  # name: preset, patch, side of the image, channels, batch
    "nano, 16 tokens": ("nano", 4, 16, 1, 64),
    "nano, 64 tokens": ("nano", 2, 16, 1, 64),
    "S/2, 64 tokens": ("S", 2, 16, 4, 32),
}
ARMS = {
    "native+dw": [{"kind": "adaln_zero", "options": {"source": ["timestep", "label"]}}],
    "can-3": [{"kind": "can", "options": {"source": ["timestep", "label"]}}],
}


def spec_of(preset: str, patch: int, side: int, channels: int, arm: str) -> ModelSpec:
    spec = published_spec(Published("dit", preset, patch, side, 0, None, ""), "normalised").dump()
    spec["backbone"] |= {
        "shape": [channels, side, side],
        "out_channels": None,
        "depthwise": True,
        "norm_affine": arm != "native+dw",
    }
    spec["embedder"]["classes"] = {"label": 10}
    spec["methods"] = [{**m, "version": 1} for m in ARMS[arm]]
    return ModelSpec.model_validate(spec)


def bandwidth() -> float:
    """Bytes/s, read and written, of one thread that copies more than the caches hold."""
    torch.set_num_threads(1)
    a = torch.zeros(2**26)
    b = torch.ones_like(a)
    spent = []
    for _ in range(7):
        began = time.perf_counter()
        a.copy_(b)
        spent.append(time.perf_counter() - began)
    return 2 * a.nbytes / min(spent)


def peak(dtype: torch.dtype) -> float:
    """MAC/s of one thread in a matrix product."""
    torch.set_num_threads(1)
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    spent = []
    for _ in range(7):
        began = time.perf_counter()
        a @ b
        spent.append(time.perf_counter() - began)
    return SIDE**3 / min(spent)


def step_of(spec: ModelSpec, batch: int, form: str) -> Work:
    """A trial's training step, in one of FORMS."""
    precision = "bfloat16" if form == "bfloat16" else "float32"
    trainer, data, order = trainer_of(spec, batch, precision=precision)
    if form == "compiled":
        trainer.model = torch.compile(trainer.model, dynamic=False)
    inner = "bf16" if form == "bf16 inside" else "ieee"
    gelu = partial(F.gelu, approximate="tanh") if form == "torch's gelu" else gelu_tanh

    def step() -> None:
        torch.backends.mkldnn.matmul.fp32_precision = inner
        dit.gelu_tanh = gelu
        trainer.step(data, order)

    return step


FORMS = ("float32", "torch's gelu", "bf16 inside", "bfloat16", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--forms", default=",".join(FORMS[:4]))
    parser.add_argument("--models", default=";".join(MODELS))
    parser.add_argument("--give-back", action="store_true")
    parser.add_argument("--csv")
    arguments = parser.parse_args()
    if arguments.give_back:
        process.keep_memory = lambda: None
    float32, bfloat16 = peak(torch.float32), peak(torch.bfloat16)
    print(
        f"peak of one thread: float32 {float32 / 1e9:.0f}, bfloat16 {bfloat16 / 1e9:.0f} GMAC/s; "
        f"copy {bandwidth() / 1e9:.1f} GB/s"
    )
    rows = []
    for name in arguments.models.split(";"):
        preset, patch, side, channels, batch = MODELS[name]
        for arm in ARMS:
            spec = spec_of(preset, patch, side, channels, arm)
            macs = 3 * batch * meta_macs(spec).total
            work = {form: step_of(spec, batch, form) for form in arguments.forms.split(",")}
            spent = alternate(work, arguments.rounds)
            base = float(np.median(spent["float32"]))
            for form, seconds in spent.items():
                middle = float(np.median(seconds))
                rows.append(
                    {
                        "model": name,
                        "arm": arm,
                        "form": form,
                        "batch": batch,
                        "images_per_s": batch / middle,
                        "speed": base / middle,
                        "share_of_float32_peak": macs / middle / float32,
                    }
                )
                r = rows[-1]
                print(
                    f"{name:16} {arm:10} {form:12} batch {batch}: {r['images_per_s']:8.1f} "
                    f"images/s, {r['speed']:.2f}x float32, "
                    f"{r['share_of_float32_peak']:.0%} of the float32 peak",
                    flush=True,
                )
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
