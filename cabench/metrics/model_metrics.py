"""Metrics that look at the trained network itself. Heavy imports wait inside `compute`."""

from __future__ import annotations

from cabench.data.dataset import UNSEEN
from cabench.registry import METRICS


@METRICS.register("heldout_loss")
class HeldoutLoss:
    """Mean squared error of the prediction at guidance 1 on the report split.

    With common random numbers for all arms: overall, by equal bins of t, and (`train_loss`) on as
    many generator-train images.
    """

    version = 1
    needs = "model"
    higher_is_better = False
    label = "held-out loss"
    unseen = True  # measured on the split `unseen`, too, where there is one

    @staticmethod
    def compute(model, process, dataset, heldout, device) -> dict[str, float]:
        """`heldout`: images, bins, repeats, as in the scale."""
        from cabench.diffusion.training import Data, denoising_loss

        def loss(split: str):
            data = Data(dataset.split(split), (*model.embedder.categories, *model.embedder.texts))
            return denoising_loss(model, process, data, device=device, **heldout)

        bins = loss("report")
        further = {"heldout_loss/unseen": loss(UNSEEN).mean()} if UNSEEN in dataset.splits else {}
        overall = {"heldout_loss": bins.mean(), "train_loss": loss("generator-train").mean()}
        by_bin = {f"heldout_loss/bin{i}": value for i, value in enumerate(bins)}
        return {name: float(value) for name, value in (overall | further | by_bin).items()}
