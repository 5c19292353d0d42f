"""Training: initialise, load, loop over images seen, snapshot. Longer runs extend shorter ones."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import safe_open, save_file
from torch import Tensor, nn

from cabench.data.dataset import Split
from cabench.diffusion.process import Process
from cabench.diffusion.weight_diagnostics import CLASSES, add_point, generated_weights
from cabench.errors import CabenchError
from cabench.models.model import build, build_initialised
from cabench.models.streams import Values, each, names_of, take
from cabench.runtime.files import atomic_path
from cabench.runtime.images import to_float
from cabench.runtime.rng import generator
from cabench.runtime.sealed import Corrupted, read_valid

RECIPE = 3  # raise it whenever the same spec would train to other weights
IN_MEMORY = 2**31  # bytes of a split's pictures as floats; larger ones are read batch by batch
CURVE = (1000, 10)  # report pictures and bins of the held-out loss in the curve

Progress = Callable[[int, float], None]  # images seen, last loss


class Diverged(CabenchError):
    """The loss became NaN or infinite."""


class Data:
    """A split by batches: pictures in [-1, 1] or latents, and streams {name: (N,)}.

    Pictures are floats in memory; those too large for that, and latents, are read batch by batch.
    A stream of text is kept as text.Encoded: told row by row, (features, mask).
    """

    def __init__(self, split: Split, streams: tuple[str, ...]):
        self.images, self.latents = split.images, split.latents
        if self.latents is None and 4 * math.prod(split.images.shape) <= IN_MEMORY:
            self.images = to_float(torch.from_numpy(split.images))
        self.texts = {name: split.encoded[name] for name in streams if name not in split.streams}
        self.streams = {
            name: torch.from_numpy(split.streams[name])
            for name in streams
            if name not in self.texts
        }
        self.several = any(text.counts.max() > 1 for text in self.texts.values())  # captions

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what `take` gives."""
        return tuple(self.images.shape[1:]) if self.latents is None else self.latents.shape

    def take(
        self,
        index: Tensor,
        device: str,
        posterior: torch.Generator,
        flip: Tensor | None = None,  # (B,) bool: which to mirror
        pick: Tensor | None = None,  # (B,) in [0, 1): which of several captions; None: the first
    ) -> tuple[Tensor, dict[str, Values]]:
        """x (B, C, H, W) float32 and streams; `posterior` draws the latents."""
        if self.latents is not None:
            x = self._latents(index, posterior, flip).to(device)
        else:
            x = self._pictures(index).to(device)
            if flip is not None:
                x = torch.where(flip.to(device).view(-1, 1, 1, 1), x.flip(3), x)
        return x, self.told(index, device, pick)

    def told(
        self, index: Tensor, device: str = "cpu", pick: Tensor | None = None
    ) -> dict[str, Values]:
        """The streams of the pictures `index`."""
        texts = {name: text.take(index, pick) for name, text in self.texts.items()}
        return take(self.streams, index, device) | each(texts, lambda tensor: tensor.to(device))

    def _pictures(self, index: Tensor) -> Tensor:
        if isinstance(self.images, Tensor):
            return self.images[index]
        return to_float(torch.from_numpy(self.images[index.numpy()]))

    def _latents(self, index: Tensor, g: torch.Generator, flip: Tensor | None) -> Tensor:
        """(mean + deviation * noise - shift) * scale; a mirrored picture was encoded as such."""
        rows = torch.from_numpy(self.latents.moments[index.numpy()]).float()  # (B, F, 2, C, H, W)
        side = torch.zeros_like(index) if flip is None else flip.long()
        mean, deviation = rows[torch.arange(len(index)), side].unbind(1)
        x = mean + deviation * torch.randn(mean.shape, generator=g)
        return (x - self.latents.shift) * self.latents.scale


class Order:
    """Which pictures batch k holds: a new permutation each epoch, fixed by the seed."""

    def __init__(self, size: int, batch: int, seed: int):
        self.size, self.batch, self.seed = size, batch, seed
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        place = torch.arange(step * self.batch, (step + 1) * self.batch)
        return torch.cat([self._part(e, place) for e in (place // self.size).unique().tolist()])

    def _part(self, epoch: int, place: Tensor) -> Tensor:
        if epoch != self.epoch:
            g = generator(self.seed, "order", epoch)
            self.epoch, self.permutation = epoch, torch.randperm(self.size, generator=g)
        return self.permutation[place[place // self.size == epoch] % self.size]


def ema_decay(batch: int, half_life: float, seen: int) -> float:
    """Decay of one step; the half-life (images) grows with images seen, at most a tenth of them."""
    return 0.5 ** (batch / max(min(half_life, 0.1 * seen), 1e-8))


class Trainer:
    """State of one training run: model, EMA, optimiser, images seen."""

    def __init__(self, spec: Mapping[str, Any], device: str = "cpu"):
        self.spec, self.device = spec, device
        t = self.recipe = spec["training"]
        self.process = Process(**spec["diffusion"])
        self.model = build_initialised(spec["model"], spec["seed"], spec["init_salt"]).to(device)
        self.seen = 0
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=t["lr"],
            betas=tuple(t["betas"]),
            weight_decay=t["weight_decay"],
            fused=True,
        )
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        # Listed once: torch's AveragedModel walks through all modules at each step, at nano for
        # longer than the averaging takes
        self._averaged, self._current = ([*m.parameters()] for m in (self.ema, self.model))

    @torch.no_grad()
    def average(self) -> None:
        """Moves the averaged network towards the current one, after a step."""
        decay = ema_decay(self.recipe["batch"], self.recipe["ema_half_life"], self.seen)
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)

    def step(self, data: Data, order: Order) -> Tensor:
        """One update; returns the batch's loss. All randomness is named by (seed, step)."""
        t, seed = self.recipe, self.spec["seed"]
        step, batch = self.seen // t["batch"], t["batch"]
        flip = pick = None
        if data.several:  # of the captions of each picture
            pick = torch.rand(batch, generator=generator(seed, "caption", step))
        if self.spec["data"]["flip"]:
            flip = torch.rand(batch, generator=generator(seed, "flip", step)) < 0.5
        posterior = generator(seed, "posterior", step)
        x, streams = data.take(order(step), self.device, posterior, flip, pick)
        g = generator(seed, "noise", step)
        u, noise = torch.rand(batch, generator=g), torch.randn(x.shape, generator=g)
        drop = torch.rand(batch, generator=generator(seed, "drop", step)) < t["label_dropout"]
        times = self.process.times(u).to(self.device)
        noised, target = self.process.noisy(x, noise.to(self.device), times)

        for group in self.optimiser.param_groups:
            group["lr"] = t["lr"] * min(1.0, (self.seen + batch) / max(t["warmup"], 1))
        with autocast(self.device, t["precision"]):
            predicted = self.model(noised, times, streams, drop.to(self.device))
        loss = (predicted.float() - target).square().mean()
        loss.backward()
        if t["clip"] is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), t["clip"])
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.seen += batch
        self.average()
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Everything a resumed run needs: network, average, optimiser."""
        names = {p: n for n, p in self.model.named_parameters()}
        named = prefixed("model.", self.model) | prefixed("ema.", self.ema)
        for p, moments in self.optimiser.state.items():
            named |= {f"{key}.{names[p]}": value for key, value in moments.items()}
        return named

    def restore(self, tensors: Mapping[str, Tensor], seen: int) -> None:
        self.seen = seen
        load_named(self.model, tensors, "model.")
        load_named(self.ema, tensors, "ema.")
        for name, p in self.model.named_parameters():
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}.{name}" in tensors]
            if keys:  # a parameter that no arm's method uses has no moments
                self.optimiser.state[p] = {k: tensors[f"{k}.{name}"].to(self.device) for k in keys}


def prefixed(prefix: str, model: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: p.detach() for name, p in model.named_parameters()}


def autocast(device: str, precision: str) -> torch.autocast:
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def load_named(model: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    for name, p in model.named_parameters():
        p.copy_(tensors[prefix + name])


def save(path: Path, tensors: Mapping[str, Tensor], **meta: Any) -> None:
    """A safetensors file whose metadata holds `meta` and a checksum of everything."""
    plain = {name: t.cpu().contiguous() for name, t in tensors.items()}
    told = {k: json.dumps(v) for k, v in meta.items()}
    told["sha256"] = digest(plain, told)
    with atomic_path(path) as part:
        try:
            save_file(plain, part, metadata=told)
        except SafetensorError as error:  # what a full disk raises there
            found = re.search(r"\(os error (\d+)\)", str(error))
            code = int(found[1]) if found else errno.EIO
            raise OSError(code, os.strerror(code)) from None


def digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, t in sorted(tensors.items()):
        found.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        found.update(t.contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and metadata; None if the file is absent or, which is logged, corrupted."""
    return read_valid(path, _read, errors=(SafetensorError, RuntimeError))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as f:
        meta = dict(f.metadata() or {})
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (no mapping)
    if meta.pop("sha256", None) != digest(tensors, meta):
        raise Corrupted(f"{path} is corrupted")
    return tensors, {k: json.loads(v) for k, v in meta.items()}


def whole(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load`, of a file that was there a moment ago."""
    found = load(path)
    if found is None:
        raise OSError(errno.EIO, "corrupted or missing", str(path))
    return found


def load_ema(spec: Mapping[str, Any], path: Path, device: str = "cpu") -> nn.Module:
    """The averaged network of a snapshot, ready to sample."""
    model = build(spec["model"])
    load_named(model, whole(path)[0], "ema.")
    return model.to(device).eval()


def snapshot_path(folder: Path, images: int) -> Path:
    """The averaged network after `images`; `state.safetensors` beside it holds the whole run."""
    return folder / f"ema-{images:010d}.safetensors"


def marks(batch: int, every: int, images: int) -> list[int]:
    """Images seen at each snapshot: whole batches, the last at `images` rounded up to one."""
    every = max(1, math.ceil(every / batch)) * batch
    end = math.ceil(images / batch) * batch
    return [*range(every, end, every), end]


@torch.no_grad()
def denoising_loss(
    model: nn.Module,
    process: Process,
    data: Data,
    images: int,  # how many, spread over the split
    bins: int,  # equal parts of the range of t
    repeats: int = 1,  # noises a picture
    batch: int = 500,
    device: str = "cpu",
) -> np.ndarray:
    """Mean squared error of the prediction in each bin of t, (bins,), guidance 1.

    Common random numbers: pictures, noise and times are the same for every model and seed.
    """
    images = min(images, len(data))
    index = torch.linspace(0, len(data) - 1, images).long().repeat(repeats)
    g = generator(0, "denoising loss")
    place = torch.arange(len(index))
    bin_of = (place + place // images) % bins  # a picture meets another bin in each repeat
    u = (bin_of + torch.rand(len(index), generator=g)) / bins
    noise = torch.randn((len(index), *data.shape), generator=g)
    posterior = generator(0, "posterior")
    total = torch.zeros(bins, dtype=torch.float64)
    for start in range(0, len(index), batch):
        part = slice(start, start + batch)
        x, streams = data.take(index[part], device, posterior)
        times = process.times(u[part]).to(device)
        noised, target = process.noisy(x, noise[part].to(device), times)
        error = (model(noised, times, streams) - target).square().flatten(1).mean(1).double().cpu()
        total.index_add_(0, bin_of[part], error)
    return (total / torch.bincount(bin_of, minlength=bins)).numpy()


def train(
    spec: Mapping[str, Any],  # the `train` part of a trial's spec
    images: int,
    dataset: Any,
    folder: Path,  # one training run: averaged networks by images seen, and the last state
    snapshot_every: int,  # images
    keep_state: bool = True,  # after the end, too, so that a longer run goes on from there
    device: str = "cpu",
    progress: Progress = lambda seen, loss: None,
) -> Path:
    """Trains to `images`, going on from the folder's state; returns the snapshot's path.

    A snapshot's metadata holds `curve` (losses, and what the weight generators make, by images
    seen) and `seconds` (of training alone).
    """
    recipe = spec["training"]
    stops = marks(recipe["batch"], snapshot_every, images)
    end = stops[-1]
    final = snapshot_path(folder, end)
    if load(final) is not None:
        return final
    classes = spec["model"]["embedder"]["classes"]
    names = names_of(spec["model"]["embedder"])
    data, report = (Data(dataset.split(split), names) for split in ("generator-train", "report"))
    looked_at = torch.linspace(0, len(report) - 1, min(CLASSES, len(report))).long()
    texts = {name: text.take(looked_at) for name, text in report.texts.items()}
    order = Order(len(data), recipe["batch"], spec["seed"])
    trainer = Trainer(spec, device)
    curve: dict = {"images": [], "loss": [], "heldout": {"images": [], "loss": []}, "weights": {}}
    state = folder / "state.safetensors"
    spent, held = 0.0, 0
    kept = load(state)
    if kept is not None:
        tensors, meta = kept
        held = meta["seen"]
        if held <= end:
            trainer.restore(tensors, held)
            curve, spent = meta["curve"], meta["seconds"]
        if held == end:  # its snapshot was lost
            save(final, prefixed("ema.", trainer.ema), curve=curve, seconds=spent)
    began = time.perf_counter()
    every = max(1, end // recipe["batch"] // 100)  # steps a point of the curve
    window: list[Tensor] = []
    while trainer.seen < end:
        window.append(trainer.step(data, order))
        if len(window) == every or trainer.seen in stops:
            loss = torch.stack(window).mean().item()
            if not math.isfinite(loss):
                raise Diverged(f"the loss became {loss} after {trainer.seen} images")
            curve["images"].append(trainer.seen)
            curve["loss"].append(round(loss, 6))
            window = []
            progress(trainer.seen, loss)
        if trainer.seen in stops:
            spent += time.perf_counter() - began
            model = trainer.ema
            errors = denoising_loss(model, trainer.process, report, *CURVE, device=device)
            curve["heldout"]["images"].append(trainer.seen)
            curve["heldout"]["loss"].append(round(float(errors.mean()), 6))
            made = generated_weights(model, classes, device, texts)
            add_point(curve.setdefault("weights", {}), trainer.seen, made)  # older states have none
            told = {"curve": curve, "seconds": spent}
            save(snapshot_path(folder, trainer.seen), prefixed("ema.", model), **told)
            if trainer.seen > held:
                save(state, trainer.state(), seen=trainer.seen, **told)
            began = time.perf_counter()
    if not keep_state:
        state.unlink(missing_ok=True)
    return final
