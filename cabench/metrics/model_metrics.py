"""Metrics of the trained network itself. Heavy imports wait inside `compute`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cabench.data.dataset import UNSEEN, Dataset
from cabench.registry import METRICS

if TYPE_CHECKING:
    from cabench.diffusion.process import Process
    from cabench.models.model import ConditionalModel


LARGEST = 1e3  # a network that predicts zero has a loss of about 1


@METRICS.register("heldout_loss")
class HeldoutLoss:
    """Denoising loss (mean squared error) on the report split; in [0, inf), lower is better.

    At guidance 1, with common random numbers for all arms. Gives the overall loss, its parts by
    equal bins of t, and `train_loss` on as many images of generator-train.
    """

    version = 1
    needs = "model"
    higher_is_better = False
    label = "held-out loss"
    unseen = True  # also measured on the split `unseen`, where there is one

    @staticmethod
    def compute(
        model: ConditionalModel,
        process: Process,
        dataset: Dataset,
        heldout: dict[str, int],
        device: str,
    ) -> dict[str, float]:
        """`heldout`: images, bins, repeats, as in the scale. Diverged if a loss exceeds LARGEST."""
        from cabench.diffusion.batches import Data
        from cabench.diffusion.losses import denoising_loss
        from cabench.diffusion.training import Diverged

        def loss(split: str):
            data = Data(dataset.split(split), model.embedder.streams)
            bins = denoising_loss(model, process, data, device=device, **heldout)  # (bins,)
            if not bins.max() < LARGEST:
                raise Diverged(f"the denoising loss on {split} is {bins.max():.3g}")
            return bins

        bins = loss("report")
        unseen = {"heldout_loss/unseen": loss(UNSEEN).mean()} if UNSEEN in dataset.splits else {}
        overall = {"heldout_loss": bins.mean(), "train_loss": loss("generator-train").mean()}
        by_bin = {f"heldout_loss/bin{i}": value for i, value in enumerate(bins)}
        return {name: float(value) for name, value in (overall | unseen | by_bin).items()}
