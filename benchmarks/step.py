"""How much of one thread's matmul peak a training step reaches, and what could raise it.

    python benchmarks/step.py [--rounds 9] [--csv FILE]

Ratios of one run, alternating; a step is forward, backward, AdamW and EMA, counted as three times
the forward's MACs, on one thread.
"""

from __future__ import annotations

import argparse
import csv
import time

import numpy as np
import torch

from cabench.cost.macs import meta_macs
from cabench.cost.published import Published, published_spec
from cabench.models.model import build_initialised
from cabench.timing import alternate

SIDE = 1024  # of the matrices that tell the peak
MODELS = {  # name: preset, patch, side of the picture, channels, batch
    "nano, 16 tokens": ("nano", 4, 16, 1, 64),
    "nano, 64 tokens": ("nano", 2, 16, 1, 64),
    "S/2, 64 tokens": ("S", 2, 16, 4, 16),
}
ARMS = {
    "native+dw": [{"kind": "adaln_zero", "options": {"source": ["timestep", "label"]}}],
    "can-3": [{"kind": "can", "options": {"source": ["timestep", "label"]}}],
}


def spec_of(preset: str, patch: int, side: int, channels: int, arm: str) -> dict:
    spec = published_spec(Published("dit", preset, patch, side, 0, None, ""), "shared")
    spec["backbone"] |= {"shape": [channels, side, side], "out_channels": None, "depthwise": True,
                         "norm_affine": arm != "native+dw"}  # fmt: skip
    spec["embedder"]["classes"] = {"label": 10}
    spec["methods"] = [{**m, "version": 1} for m in ARMS[arm]]
    return spec


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


def step_of(spec: dict, batch: int, form: str):
    """One update as training does it, in one of FORMS."""
    model = build_initialised(spec, 0)
    run = torch.compile(model, dynamic=False) if form == "compiled" else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    average = [p.detach().clone() for p in model.parameters()]
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *spec["backbone"]["shape"], generator=g)
    t, label = torch.rand(batch, generator=g) * 1000, torch.randint(10, (batch,), generator=g)
    inner = "bf16" if form == "bf16 inside" else "ieee"

    def step() -> None:
        torch.backends.mkldnn.matmul.fp32_precision = inner
        with torch.autocast("cpu", torch.bfloat16, enabled=form == "bfloat16"):
            loss = (run(x, t, {"label": label}).float() - x).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 0.01)

    return step


FORMS = ("float32", "bf16 inside", "bfloat16", "compiled")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=9)
    asked.add_argument("--forms", default=",".join(FORMS[:3]))
    asked.add_argument("--csv")
    asked = asked.parse_args()
    float32, bfloat16 = peak(torch.float32), peak(torch.bfloat16)
    print(f"peak of one thread: float32 {float32 / 1e9:.0f}, bfloat16 {bfloat16 / 1e9:.0f} GMAC/s")
    rows = []
    for name, (preset, patch, side, channels, batch) in MODELS.items():
        for arm in ARMS:
            spec = spec_of(preset, patch, side, channels, arm)
            macs = 3 * batch * meta_macs(spec)["total"]
            work = {form: step_of(spec, batch, form) for form in asked.forms.split(",")}
            spent = alternate(work, asked.rounds)
            base = float(np.median(spent["float32"]))
            for form, seconds in spent.items():
                middle = float(np.median(seconds))
                rows.append({
                    "model": name, "arm": arm, "form": form, "batch": batch,
                    "images_per_s": batch / middle, "speed": base / middle,
                    "share_of_float32_peak": macs / middle / float32,
                })  # fmt: skip
                r = rows[-1]
                print(
                    f"{name:16} {arm:10} {form:12} batch {batch}: {r['images_per_s']:8.1f} "
                    f"images/s, {r['speed']:.2f}x float32, "
                    f"{r['share_of_float32_peak']:.0%} of the float32 peak", flush=True
                )  # fmt: skip
    if asked.csv:
        with open(asked.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
