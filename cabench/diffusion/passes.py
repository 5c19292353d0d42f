"""How a training step is computed: micro-batches, recomputed activations, several ranks.

None changes what is computed but for the order of summation: the loss stays the mean over the whole
batch.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cabench.diffusion.batches import Batch
from cabench.diffusion.graphs import CompiledObjective
from cabench.diffusion.losses import batch_loss
from cabench.diffusion.ranks import Ranks
from cabench.errors import CabenchError
from cabench.models.model import ConditionalModel
from cabench.models.operations import reduced_by
from cabench.models.sites import ModulatedNorm


@dataclass(frozen=True)
class Passes:
    """Options of the forward and backward passes, beside the number of ranks."""

    micro_batch: int | None = None  # images a pass and rank; None: all of the rank's
    checkpointing: bool = False  # keep no activations within blocks, recompute them


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """The backbone's blocks: entries of its lists of modules that hold a norm of the contract."""
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList)]
    entries = [entry for each in lists for entry in each if not isinstance(entry, nn.ModuleList)]
    return [e for e in entries if any(isinstance(m, ModulatedNorm) for m in e.modules())]


def recompute_blocks(backbone: nn.Module) -> None:
    """Makes the backbone keep the inputs of its blocks alone and compute the rest twice."""
    modules = blocks(backbone)
    if not modules:
        raise CabenchError(f"checkpointing: {type(backbone).__name__} has no list of blocks")
    for block in modules:
        block.forward = functools.partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )


class Objective(nn.Module):
    """The loss of a part of a batch, as a module that DistributedDataParallel can wrap."""

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.model = model
        self.penalises: bool | None = None  # whether a method adds to the loss; unknown at first

    def forward(self, part: Batch, whole: Batch, penalised: bool) -> tuple[Tensor, Tensor]:
        """The part's loss and its error alone.

        The penalties of methods are not means over samples, so they are those of the `whole` batch
        of this rank, in the one part that is `penalised`; each depends on the condition only.
        """
        if part is whole:
            return batch_loss(self.model, part)
        loss, error = batch_loss(self.model, part, penalised=False)
        if penalised and self.penalises is not False:
            condition = self.model.condition(whole.times, whole.streams, whole.drop)
            penalties = [penalty() for penalty in condition.penalties]
            self.penalises = bool(penalties)
            loss = loss + sum(penalties, torch.zeros_like(error)) * (len(whole) / len(part))
        return loss, error


class Gradients:
    """Sets the gradients of the mean loss over the batches of all ranks."""

    def __init__(
        self,
        model: ConditionalModel,
        passes: Passes,
        ranks: Ranks,
        batch: int,
        graphed: bool = False,  # compiled for a GPU, by one rank with whole batches
    ):
        rows = ranks.part(batch)
        self.ranks, self.share = ranks, (rows.stop - rows.start) / batch
        self.most = passes.micro_batch or batch  # images a pass
        self.objective = CompiledObjective(model) if graphed else ranks.wrapped(Objective(model))

    def __call__(self, batch: Batch, autocast: torch.autocast) -> Tensor:
        """From this rank's rows; returns their part of the mean error."""
        parts = [batch] if len(batch) <= self.most else list(batch.parts(self.most))
        total = torch.zeros((), device=batch.times.device)
        for number, part in enumerate(parts, 1):
            weight = self.share * len(part) / len(batch)
            is_last = number == len(parts)
            with contextlib.nullcontext() if is_last else self._unsynchronised():
                with autocast, reduced_by(self._mean) if self.ranks.count > 1 else _NOTHING:
                    loss, error = self.objective(part, batch, is_last)
                # DistributedDataParallel divides the sum of the ranks' gradients by their number
                _scaled(loss, weight * self.ranks.count).backward()
            total = _scaled(error.detach(), weight) + total if len(parts) > 1 else error.detach()
        return total if len(parts) > 1 else _scaled(total, self.share)

    def _unsynchronised(self) -> contextlib.AbstractContextManager:
        """Within it gradients add up on this rank alone."""
        if isinstance(self.objective, nn.parallel.DistributedDataParallel):
            return self.objective.no_sync()
        return _NOTHING

    def _mean(self, values: Tensor) -> Tensor:
        """The mean over the whole batch from that over this rank's rows, without a gradient."""
        return self.ranks.sum(values * self.share)


_NOTHING = contextlib.nullcontext()


def _scaled(value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else value * factor
