"""Training runs of one arm's seeds, stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cabench.diffusion.batches import Batch
from cabench.diffusion.compiled import FlatLayout, gradient
from cabench.diffusion.training import TrainingRun
from cabench.errors import CabenchError

EPSILON = 1e-8  # of AdamW, torch's default


class Stack:
    """Networks, averages and moments of several runs in four vectors.

    The parameters of each run's networks become views of them, so that the runs measure and save
    themselves as if they were alone. All have seen the same number of images.
    """

    def __init__(self, runs: Sequence[TrainingRun], cache: Path):
        self.runs, self.trainers = runs, [run.trainer for run in runs]
        trainer = self.trainers[0]
        self.recipe = trainer.recipe
        if self.recipe.optimiser is not None:
            raise CabenchError(
                f"compiled steps are AdamW's, not those of '{self.recipe.optimiser}'"
            )
        self.layout = FlatLayout(trainer.model, len(runs))
        self.vectors = tuple(torch.zeros(self.layout.size) for _ in range(4))
        self.values, self.averages, self.first, self.second = self.vectors
        self.parameters = self.layout.parameters(self.values)
        self.rows = [self.layout.rows(v) for v in (self.values, self.first, self.second)]
        self.steps = torch.tensor(float(trainer.seen // self.recipe.batch))
        for index in range(len(runs)):
            self._adopt(index)
        self.gradient = gradient(trainer.model, trainer.spec.model, self._draw(), cache)

    @torch.no_grad()
    def _adopt(self, index: int) -> None:
        """Moves the state of a run to the vectors."""
        trainer = self.trainers[index]
        stacked = zip(*(self.layout.parameters(vector) for vector in self.vectors), strict=True)
        own = zip(trainer.model.parameters(), trainer.ema.parameters(), strict=True)
        for (current, average), of_all in zip(own, stacked, strict=True):
            (optimiser,) = trainer.optimisers  # AdamW
            state = optimiser.state.get(current, {})
            old = (current, average, state.get("exp_avg"), state.get("exp_avg_sq"))
            views = [parameter[index] for parameter in of_all]
            for view, value in zip(views, old, strict=True):
                if value is not None:
                    view.copy_(value)
            current.data, average.data = views[:2]
            optimiser.state[current] = {
                "step": self.steps, "exp_avg": views[2], "exp_avg_sq": views[3],
            }  # fmt: skip

    def _draw(self) -> Batch:
        return Batch.stack([run.trainer.draw(run.data, run.order) for run in self.runs])

    @torch.no_grad()
    def step(self) -> Tensor:
        """One update of every run; returns their losses (S,)."""
        gradients, losses = self.gradient(self.parameters, self._draw())
        if self.recipe.clip is not None:
            squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])
            factor = (self.recipe.clip / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1)  # (S,)
            gradients = [g * factor.view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        self._update(self.layout.padded(gradients))
        for trainer in self.trainers:
            trainer.seen += self.recipe.batch
        self.averages.lerp_(self.values, self.trainers[0].averaging)
        return losses

    def _update(self, gradients: list[Tensor]) -> None:
        """AdamW, as torch.optim.AdamW(fused=True) does it, but with one count of steps for all."""
        recipe, (values, first, second) = self.recipe, self.rows
        self.steps += 1
        adamw: Any = torch._fused_adamw_  # pyright: ignore[reportPrivateImportUsage]
        adamw(
            values,
            gradients,
            first,
            second,
            [],
            [self.steps] * len(values),
            lr=self.trainers[0].rate,
            beta1=recipe.betas[0],
            beta2=recipe.betas[1],
            weight_decay=recipe.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
