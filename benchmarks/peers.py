"""Training and sampling speed beside other code for the same network, alternating in one run.

    python benchmarks/peers.py [--rounds 9] [--parts training,sampling] [--stack 3] [--csv FILE]

`plain` is a DiT in torch's own modules, written after the equations of its paper (arXiv
2212.09748, section 3.2), trained as its repository trains: AdamW, and an average that is updated
parameter by parameter. `diffusers` is DiTTransformer2DModel, which embeds the condition in every
block. `native` is cabench's DiT with adaLN-Zero; `native+dw` and `can-3` are the arms of the
studies, with a depthwise convolution. cabench trains `--stack` seeds together, compiled, as scale
`quick` does, and samples by a compiled network, as scale `cpu` does, and by an eager one. Speeds
are images per second of processor time on one thread.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cabench.cost.timing import DIFFUSION, Work, ratio, trainer_of
from cabench.diffusion.compiled_network import CompiledNetwork
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import sample
from cabench.diffusion.stack import Stack
from cabench.diffusion.training import TrainingRun
from cabench.models.model import build_initialised
from cabench.records.spec import ModelSpec
from cabench.runtime.threads import one_thread

CACHE = Path(".cabench")
CLASSES = 10
GUIDANCE, STEPS = 1.5, 20
BOTH = ["timestep", "label"]
OURS = {
    "native": {"methods": [{"kind": "adaln_zero", "options": {"source": BOTH}}]},
    "native+dw": {"methods": [{"kind": "adaln_zero", "options": {"source": BOTH}}], "dw": True},
    "can-3": {"methods": [{"kind": "can", "options": {"source": BOTH}}], "dw": True},
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a DiT and of its batch."""

    side: int  # pixels
    patch: int
    width: int
    heads: int
    depth: int
    batch: int
    channels: int = 1

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2

    def __str__(self) -> str:
        return f"{self.tokens} tokens, {self.width} wide, batch {self.batch}"


TRAINING = [
    Shape(16, 4, 64, 4, 4, batch=16),
    Shape(16, 4, 64, 4, 4, batch=64),
    Shape(16, 2, 96, 6, 4, batch=16),
    Shape(16, 2, 96, 6, 4, batch=64),
]
SAMPLING = [
    Shape(16, 4, 64, 4, 4, batch=64),
    Shape(16, 4, 64, 4, 4, batch=250),
    Shape(16, 2, 96, 6, 4, batch=64),
]


# ---- cabench ------------------------------------------------------------------------------------


def spec_of(shape: Shape, arm: str) -> ModelSpec:
    adaptive = arm != "can-3"
    spec = {
        "backbone": {
            "kind": "dit",
            "version": 1,
            "shape": [shape.channels, shape.side, shape.side],
            "patch": shape.patch,
            "width": shape.width,
            "depth": shape.depth,
            "heads": shape.heads,
            "depthwise": OURS[arm].get("dw", False),
            "norm_affine": not adaptive,
        },
        "embedder": {
            "version": 1,
            "normalise": True,
            "width": shape.width,
            "classes": {"label": CLASSES},
        },
        "methods": [{**cast(dict, m), "version": 1} for m in cast(list, OURS[arm]["methods"])],
    }
    return ModelSpec.model_validate(spec)


def our_training(shape: Shape, arm: str, stack: int) -> tuple[Work, int]:
    """A step of the stack, and the images that it sees."""
    spec = spec_of(shape, arm)
    runs = []
    for _ in range(stack):
        trainer, data, order = trainer_of(spec, shape.batch)
        runs.append(SimpleNamespace(trainer=trainer, data=data, order=order))
    return Stack(cast(list[TrainingRun], runs), CACHE).step, shape.batch * stack


def our_sampling(shape: Shape, arm: str, compiled: bool) -> tuple[Work, int]:
    spec = spec_of(shape, arm)
    model: Any = build_initialised(spec, 0).eval()
    if compiled:
        model = CompiledNetwork(model, spec, shape.batch, shape.batch, CACHE)
    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    labels = torch.randint(CLASSES, (shape.batch,), generator=torch.Generator().manual_seed(0))

    def work() -> Tensor:
        image = (shape.channels, shape.side, shape.side)
        return sample(
            model, process, lambda index: {"label": labels[index]}, shape.batch, image, 0,
            steps=STEPS, guidance=GUIDANCE, batch=shape.batch,
        )  # fmt: skip

    return work, shape.batch


# ---- others -------------------------------------------------------------------------------------


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]


class PlainBlock(nn.Module):
    """x += gate * attention(modulated norm), then the same with the MLP; adaLN-Zero."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2)
        )
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c).chunk(6, dim=1)
        b, n, d = x.shape
        h = modulated(self.norms[0](x), shift1, scale1)
        q, k, v = self.qkv(h).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + gate1[:, None] * self.out(h)
        return x + gate2[:, None] * self.mlp(modulated(self.norms[1](x), shift2, scale2))


class PlainDiT(nn.Module):
    """A DiT without learned sigma; inputs (B, C, H, W), t (B,), labels (B,)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape, d = shape, shape.width
        self.embed = nn.Conv2d(shape.channels, d, shape.patch, shape.patch)
        self.register_buffer("positions", torch.randn(1, shape.tokens, d))
        self.time = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))
        self.label = nn.Embedding(CLASSES + 1, d)
        self.blocks = nn.ModuleList(PlainBlock(d, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d))
        self.head = nn.Linear(d, shape.patch**2 * shape.channels)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        rates = torch.exp(-np.log(10_000) * torch.arange(128) / 128)
        angles = t[:, None] * rates
        c = self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.label(labels)
        h = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, c)
        h = self.head(modulated(self.norm(h), *self.modulation(c).chunk(2, dim=1)))
        p, grid = self.shape.patch, self.shape.side // self.shape.patch
        h = h.reshape(len(x), grid, grid, p, p, self.shape.channels)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def diffusers_model(shape: Shape) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    from diffusers import DiTTransformer2DModel  # pyright: ignore[reportPrivateImportUsage]

    model: Any = DiTTransformer2DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.width // shape.heads,
        in_channels=shape.channels,
        num_layers=shape.depth,
        sample_size=shape.side,
        patch_size=shape.patch,
        num_embeds_ada_norm=CLASSES,
    )
    return model


def predicted(model: Any, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    if isinstance(model, PlainDiT):
        return model(x, t, labels)
    return model(x, timestep=t, class_labels=labels).sample


def other_training(shape: Shape, model: Any) -> tuple[Work, int]:
    """Noise, forward, backward, AdamW, average; labels are dropped at random."""
    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0)
    average = copy.deepcopy(model).requires_grad_(False)
    images = torch.randn(4 * shape.batch, shape.channels, shape.side, shape.side)
    classes = torch.randint(CLASSES, (len(images),))

    def step() -> None:
        rows = torch.randint(len(images), (shape.batch,))
        x, labels = images[rows], classes[rows]
        labels = torch.where(torch.rand(shape.batch) < 0.1, CLASSES, labels)
        times = process.times(torch.rand(shape.batch))
        noised, target = process.noisy(x, torch.randn_like(x), times)
        loss = F.mse_loss(predicted(model, noised, times, labels), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            own = dict(model.named_parameters())
            for name, value in average.named_parameters():
                value.mul_(0.9999).add_(own[name], alpha=1e-4)

    return step, shape.batch


def other_sampling(shape: Shape, model: Any) -> tuple[Work, int]:
    """DPM-Solver++ with guidance, both branches in one batch, as diffusers' DiTPipeline does."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    labels = torch.randint(CLASSES, (shape.batch,))
    both = torch.cat([labels, torch.full_like(labels, CLASSES)])
    model.eval()

    @torch.no_grad()
    def work() -> Tensor:
        scheduler = DPMSolverMultistepScheduler(**process.scheduler_options())
        scheduler.set_timesteps(STEPS)
        x = torch.randn(shape.batch, shape.channels, shape.side, shape.side)
        for t in scheduler.timesteps:
            pair = torch.cat([x, x])
            times = t.float().expand(len(pair))
            conditional, null = predicted(model, pair, times, both).chunk(2)
            x = scheduler.step(null + GUIDANCE * (conditional - null), t, x).prev_sample
        return ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)

    return work, shape.batch


# ---- comparison ---------------------------------------------------------------------------------


def alternate(work: dict[str, tuple[Work, int]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of processor time per image, by round; each turn lasts about half a second."""
    repeats = {}
    for name, (run, _) in work.items():
        for _ in range(3):
            run()
        began = time.process_time()
        run()
        repeats[name] = max(1, round(0.5 / (time.process_time() - began)))
    spent: dict[str, list[float]] = {name: [] for name in work}
    for index in range(rounds):
        for name in list(work) if index % 2 == 0 else list(work)[::-1]:
            run, images = work[name]
            began = time.process_time()
            for _ in range(repeats[name]):
                run()
            spent[name].append((time.process_time() - began) / (repeats[name] * images))
    return {name: np.array(seconds) for name, seconds in spent.items()}


def compare(part: str, shape: Shape, stack: int, rounds: int) -> list[dict[str, Any]]:
    """Prints and returns speeds of every code at a shape."""
    plain, other = PlainDiT(shape), diffusers_model(shape)
    if part == "training":
        work = {"plain": other_training(shape, plain), "diffusers": other_training(shape, other)}
        work |= {arm: our_training(shape, arm, stack) for arm in OURS}
    else:
        work = {"plain": other_sampling(shape, plain), "diffusers": other_sampling(shape, other)}
        work |= {arm: our_sampling(shape, arm, compiled=True) for arm in OURS}
        work |= {f"{arm}, eager": our_sampling(shape, arm, compiled=False) for arm in OURS}
    spent = alternate(work, rounds)
    rows = []
    print(f"{part}, {shape}", flush=True)
    for name, seconds in spent.items():
        row: dict[str, Any] = {"part": part, "shape": str(shape), "code": name}
        row["images_per_s"] = 1 / float(np.median(seconds))
        text = f"  {name:16} {row['images_per_s']:8.1f} images/s"
        for rival in ("plain", "diffusers", "native+dw"):
            speed = ratio(spent[rival], seconds)
            row |= {f"over {rival}": speed.median, "low": speed.low, "high": speed.high}
            text += f", {speed.median:.2f} [{speed.low:.2f}, {speed.high:.2f}] x {rival}"
        rows.append(row)
        print(text, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", default="training,sampling")
    parser.add_argument("--stack", type=int, default=3)
    parser.add_argument("--csv")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    with one_thread():  # as a trial runs, which keeps freed memory; for the others, too
        for part in arguments.parts.split(","):
            for shape in {"training": TRAINING, "sampling": SAMPLING}[part]:
                rows += compare(part, shape, arguments.stack, arguments.rounds)
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
