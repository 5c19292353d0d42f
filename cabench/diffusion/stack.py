"""Training runs of one arm's seeds, stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cabench.diffusion.batches import Batch
from cabench.diffusion.compiled import FlatLayout, gradient
from cabench.diffusion.training import TrainingRun


class Stack:
    """Networks, averages and moments of several runs as rows of four matrices (S, P).

    The parameters of each run's networks become views of its row, so that the runs measure and save
    themselves as if they were alone. All have seen the same number of images.
    """

    def __init__(self, runs: Sequence[TrainingRun], cache: Path):
        self.runs, self.trainers = runs, [run.trainer for run in runs]
        self.recipe = self.trainers[0].recipe
        self.layout = FlatLayout(self.trainers[0].model)
        shape = (len(runs), self.layout.width)
        self.rows = nn.Parameter(torch.zeros(shape))
        self.averages, self.first, self.second = (torch.zeros(shape) for _ in range(3))
        self.optimiser = torch.optim.AdamW(
            [self.rows],
            lr=self.recipe.lr,
            betas=self.recipe.betas,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        steps = torch.tensor(float(self.trainers[0].seen // self.recipe.batch))
        moments = {"step": steps, "exp_avg": self.first, "exp_avg_sq": self.second}
        self.optimiser.state[self.rows] = moments
        for index in range(len(runs)):
            self._adopt(index, steps)
        spec = self.trainers[0].spec.model
        self.gradient = gradient(self.trainers[0].model, spec, self._draw(), cache)

    @torch.no_grad()
    def _adopt(self, index: int, steps: Tensor) -> None:
        """Moves the state of a run to its row."""
        trainer = self.trainers[index]
        rows = self.rows.detach(), self.averages, self.first, self.second
        pairs = zip(trainer.model.parameters(), trainer.ema.parameters(), strict=True)
        for part, (current, average) in zip(self.layout.slices, pairs, strict=True):
            old = trainer.optimiser.state.get(current, {})
            old = (current, average, old.get("exp_avg"), old.get("exp_avg_sq"))
            views = [part.of(matrix[index : index + 1])[0] for matrix in rows]
            for view, value in zip(views, old, strict=True):
                if value is not None:
                    view.copy_(value)
            current.data, average.data = views[:2]
            trainer.optimiser.state[current] = {
                "step": steps, "exp_avg": views[2], "exp_avg_sq": views[3],
            }  # fmt: skip

    def _draw(self) -> Batch:
        return Batch.stack([run.trainer.draw(run.data, run.order) for run in self.runs])

    @torch.no_grad()
    def step(self) -> Tensor:
        """One update of every run; returns their losses (S,)."""
        gradients, losses = self.gradient(self.rows.detach(), self._draw())
        if self.recipe.clip is not None:
            norms = gradients.norm(dim=1, keepdim=True)  # (S, 1)
            gradients *= (self.recipe.clip / (norms + 1e-6)).clamp(max=1)
        self.rows.grad = gradients
        self.optimiser.param_groups[0]["lr"] = self.trainers[0].rate
        self.optimiser.step()
        for trainer in self.trainers:
            trainer.seen += self.recipe.batch
        self.averages.lerp_(self.rows.detach(), self.trainers[0].averaging)
        return losses
