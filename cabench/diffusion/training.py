"""A training run: initial values, steps, curve, snapshots and states on disk."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cabench.data.dataset import Dataset
from cabench.diffusion.batches import Batch, Data, Order
from cabench.diffusion.checkpoints import load, load_prefixed, prefixed, save, snapshot_path
from cabench.diffusion.initial import adopt
from cabench.diffusion.losses import denoising_loss
from cabench.diffusion.optimisers import build_optimisers
from cabench.diffusion.passes import Gradients, Passes, recompute_blocks
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import ALONE, Ranks
from cabench.diffusion.weight_diagnostics import (
    CLASSES,
    Measured,
    Produced,
    add_point,
    generated_weights,
    produced_weights,
)
from cabench.errors import CabenchError
from cabench.models.model import build_initialised
from cabench.models.streams import Values
from cabench.records.spec import TrainSpec
from cabench.runtime.devices import moved, room_for_split
from cabench.runtime.rng import generator

RECIPE = 3  # raise it whenever the same spec would train to other weights
DRAWS = 1  # raise it whenever a GPU would draw otherwise, or run other forms of layers
STATE = "state.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")  # of AdamW, and of Muon
CURVE = (1000, 10)  # report images and bins of the held-out loss in the curve

Progress = Callable[[int, float], None]  # images seen, last loss


class Diverged(CabenchError):
    """The loss became NaN or infinite."""


def ema_decay(batch: int, half_life: float, seen: int) -> float:
    """Decay per step. The half-life is in images; it is at most a tenth of the images seen."""
    return 0.5 ** (batch / max(min(half_life, 0.1 * seen), 1e-8))


class Trainer:
    """The state of a training run: network, average (EMA), optimiser, images seen."""

    def __init__(
        self,
        spec: TrainSpec,
        device: str = "cpu",
        weights: Mapping[str, Tensor] | None = None,  # to start from, of a spec with `init_from`
        passes: Passes = Passes(),  # noqa: B008  (frozen)
        ranks: Ranks = ALONE,
    ):
        assert (spec.init_from is None) == (weights is None)
        self.spec, self.recipe, self.device = spec, spec.training, device
        self.draws_on = "cpu" if spec.draws is None else device
        self.passes, self.ranks = passes, ranks
        self.process = Process(spec.diffusion.prediction, spec.diffusion.schedule)
        self.model = build_initialised(spec.model, spec.seed, spec.init_salt)
        if weights is not None:
            adopt(self.model, weights)
        self.model.to(device)
        self.seen = 0
        self.optimisers = build_optimisers(self.model, self.recipe)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        # Listed once: torch's AveragedModel walks through all modules at each step, which takes
        # longer at nano than the averaging
        self._averaged, self._current = (list(m.parameters()) for m in (self.ema, self.model))
        if passes.checkpointing:
            recompute_blocks(self.model.backbone)

    def draw(self, data: Data, order: Order) -> Batch:
        """This rank's rows of the next step's batch. Randomness depends on (seed, step) alone.

        Order and captions decide what is read, so they are drawn on the CPU; all else is drawn on
        `draws_on`.
        """
        recipe, seed, batch = self.recipe, self.spec.seed, self.recipe.batch
        step, where = self.seen // batch, self.draws_on

        def stream(purpose: str) -> torch.Generator:
            return generator(seed, purpose, step, device=where)

        flip = pick = None
        if data.several_captions:
            pick = torch.rand(batch, generator=generator(seed, "caption", step))
        if self.spec.data.flip:
            flip = torch.rand(batch, generator=stream("flip"), device=where) < 0.5
        part = self.ranks.part(batch)  # of all that is drawn
        x, streams = data.take(order(step), self.device, stream("posterior"), flip, pick, part)
        g = stream("noise")
        u = torch.rand(batch, generator=g, device=where)
        noise = torch.randn((batch, *data.shape), generator=g, device=where)
        drop = torch.rand(batch, generator=stream("drop"), device=where) < recipe.label_dropout
        times = moved(self.process.times(u)[part], self.device)  # (B,)
        noise = moved(noise[part], self.device)
        noised, target = self.process.noisy(x, noise, times)  # (B, C, H, W)
        return Batch(noised, target, times, moved(drop[part], self.device), streams)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        recipe = self.recipe
        rate = recipe.lr * min(1.0, (self.seen + recipe.batch) / max(recipe.warmup, 1))
        if recipe.decay is not None:
            rate *= recipe.decay.factor(self.seen)
        return rate

    def step(self, data: Data, order: Order) -> Tensor:
        """One update; returns the loss of the batch, or this rank's share of it."""
        recipe, batch = self.recipe, self.draw(data, order)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate
        error = self.gradients(batch, autocast(self.device, recipe.precision))
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.seen += recipe.batch
        self.average()
        return error

    @cached_property
    def gradients(self) -> Gradients:
        """Sets the gradients of a step; made after the state is restored, which it shares."""
        graphed = self.spec.graphed is not None
        return Gradients(self.model, self.passes, self.ranks, self.recipe.batch, graphed)

    def share(self) -> None:
        """Gives every rank the leader's state."""
        if self.ranks.count > 1:
            seen = self.ranks.of_leader(self.seen)
            self.restore(self.ranks.tensors_of_leader(self.state(), self.device), seen)

    @torch.no_grad()
    def average(self) -> None:
        """Moves the average towards the network, after a step."""
        lerp: Any = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
        lerp(self._averaged, self._current, self.averaging)

    @property
    def averaging(self) -> float:
        """Weight of the network in its average, after a step."""
        return 1 - ema_decay(self.recipe.batch, self.recipe.ema_half_life, self.seen)

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs: network, average, moments of the optimisers."""
        tensors = prefixed("model.", self.model) | prefixed("ema.", self.ema)
        for name, p in self.model.named_parameters():
            for optimiser in self.optimisers:
                moments = optimiser.state.get(p, {})
                # Copies: in a stack all parameters share one count of steps
                tensors |= {f"{key}.{name}": value.clone() for key, value in moments.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], seen: int) -> None:
        self.seen = seen
        load_prefixed("model.", self.model, tensors)
        load_prefixed("ema.", self.ema, tensors)
        names = {p: name for name, p in self.model.named_parameters()}
        for optimiser in self.optimisers:
            for p in (p for group in optimiser.param_groups for p in group["params"]):
                keys = [key for key in MOMENTS if f"{key}.{names[p]}" in tensors]
                if keys:  # a parameter that the network does not use has no moments
                    moments = {key: tensors[f"{key}.{names[p]}"].to(self.device) for key in keys}
                    optimiser.state[p] = moments


def autocast(device: str, precision: str) -> torch.autocast:
    """A context that computes in bfloat16 if `precision` says so."""
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16")


def marks(batch: int, every: int, images: int) -> list[int]:
    """Images seen at each snapshot: full batches, the last at `images` rounded up to one."""
    every = max(1, math.ceil(every / batch)) * batch
    end = math.ceil(images / batch) * batch
    return [*range(every, end, every), end]


class TrainingRun:
    """A training run in its directory: trainer, data, curve, and how they are saved."""

    def __init__(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        folder: Path,
        device: str,
        trunk: Path | None = None,  # directory of the same run at constant rate
        weights: Mapping[str, Tensor] | None = None,  # to start from, of a spec with `init_from`
        passes: Passes = Passes(),  # noqa: B008  (frozen)
        ranks: Ranks = ALONE,
    ):
        names = spec.model.embedder.streams
        self.folder, self.state_path = folder, folder / STATE
        self.trunk_path = None if trunk is None else trunk / STATE
        self.decay_begins = None
        if spec.training.decay is not None:  # at a full batch
            self.decay_begins = max(0, spec.training.decay.begin) // spec.training.batch
            self.decay_begins *= spec.training.batch
        split = dataset.split("generator-train")
        self.data = Data(split, names, device, room_for_split(device))
        self.report = Data(dataset.split("report"), names)
        self.order = Order(len(self.data), spec.training.batch, spec.seed)
        self.trainer, self.ranks = Trainer(spec, device, weights, passes, ranks), ranks
        self.curve: dict[str, Any] = {
            "images": [],
            "loss": [],
            "heldout": {"images": [], "loss": []},
            "weights": {},
        }
        self.classes = spec.model.embedder.classes
        self.examples: dict[str, Values] = {}  # of texts and vectors
        if len(names) > len(self.classes):
            rows = torch.linspace(0, len(self.report) - 1, min(CLASSES, len(self.report))).long()
            streams = self.report.streams_at(rows).items()
            self.examples = {name: v for name, v in streams if name not in self.classes}
        self.steps: Measured = {}  # size of the last step that was measured
        self.seconds = 0.0  # of training alone
        self.saved = 0  # images seen by the state on disk
        self.fault: Diverged | None = None

    def resume(self, end: int) -> None:
        """Continues from the state on disk, unless that is past `end`.

        A run with a decay that has no state yet continues from that of the trunk, unless the trunk
        is past the point where the decay begins. Of several ranks, the leader reads for all.
        """
        if self.ranks.leads:
            self._read_state(end)
        self.trainer.share()

    def _read_state(self, end: int) -> None:
        checkpoint = load(self.state_path)
        if checkpoint is not None:
            tensors, metadata = checkpoint
            self.saved = metadata["seen"]
            if self.saved <= end:
                self._restore(tensors, metadata)
            if self.saved == end:  # only its snapshot was lost
                self.save_average()
        elif self.trunk_path is not None and (checkpoint := load(self.trunk_path)) is not None:
            tensors, metadata = checkpoint
            if metadata["seen"] <= (self.decay_begins or 0):
                self._restore(tensors, metadata)

    def _restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        self.trainer.restore(tensors, metadata["seen"])
        self.curve, self.seconds = metadata["curve"], metadata["seconds"]

    def leave_trunk(self) -> None:
        """Saves the state at the start of the decay for longer runs, unless it has a later one."""
        if self.trunk_path is None:
            return
        checkpoint = load(self.trunk_path)
        if checkpoint is None or checkpoint[1]["seen"] < self.trainer.seen:
            self._save_state(self.trunk_path)

    def produced(self) -> list[Produced]:
        """The static and generated weights of the network as it is."""
        model, device = self.trainer.model, self.trainer.device
        return produced_weights(model, self.classes, device, self.examples)

    def log(self, losses: list[Tensor]) -> None:
        """Adds the mean of the last losses to the curve, unless it shows that the run diverged."""
        seen, loss = self.trainer.seen, self.ranks.sum(torch.stack(losses).mean()).item()
        if not math.isfinite(loss):
            self.fault = self.fault or Diverged(f"the loss became {loss} after {seen} images")
            return
        self.curve["images"].append(seen)
        self.curve["loss"].append(round(loss, 6))

    def snapshot(self) -> None:
        """Measures and saves the average, and the state if it is newer than the one on disk."""
        trainer, device, heldout = self.trainer, self.trainer.device, self.curve["heldout"]
        errors = denoising_loss(trainer.ema, trainer.process, self.report, *CURVE, device=device)
        heldout["images"].append(trainer.seen)
        heldout["loss"].append(round(float(errors.mean()), 6))
        weights = generated_weights(trainer.ema, self.classes, device, self.examples)
        for site, steps in self.steps.items():
            weights[site] |= steps
        history = self.curve.setdefault("weights", {})  # older states have none
        add_point(history, trainer.seen, weights)
        self.save_average()
        self.save_state()

    def save_state(self) -> None:
        """Saves the state unless the one on disk is newer."""
        if self.trainer.seen > self.saved:
            self._save_state(self.state_path)

    def _save_state(self, path: Path) -> None:
        metadata = {"curve": self.curve, "seconds": self.seconds}
        save(path, self.trainer.state(), seen=self.trainer.seen, **metadata)

    def save_average(self) -> None:
        """Saves the averaged network as it is."""
        path = snapshot_path(self.folder, self.trainer.seen)
        tensors = prefixed("ema.", self.trainer.ema)
        save(path, tensors, curve=self.curve, seconds=self.seconds)
