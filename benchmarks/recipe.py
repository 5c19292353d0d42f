"""Held-out loss of the control and of can-3 at several batch sizes and learning rates.

    python benchmarks/recipe.py [--scale quick] [--images 25600] [--seed 1000]

Both arms should be best at the same recipe; otherwise a common recipe decides the comparison.
"""

from __future__ import annotations

import argparse
import dataclasses
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cabench.config.study import read_scale, read_study
from cabench.execution.run import cores
from cabench.planning.trials import plan

RECIPES = [(64, 2e-3), (64, 4e-3), (32, 2e-3), (32, 3e-3), (16, 1.5e-3)]  # batch, learning rate
ARMS = ("native+dw", "can-3")


def heldout_loss(scale: str, arm: str, batch: int, rate: float, images: int, seed: int) -> float:
    import torch

    from cabench.data import load_dataset
    from cabench.diffusion.batches import Data
    from cabench.diffusion.checkpoints import load_ema
    from cabench.diffusion.losses import denoising_loss
    from cabench.diffusion.process import Process
    from cabench.diffusion.training import train

    torch.set_num_threads(1)
    file = read_scale(scale)
    recipe = {"batch": batch, "lr": rate, "images": images}
    training = file.scale.training.model_copy(update=recipe)
    chosen = file.scale.model_copy(update={"training": training})
    study = read_study(Path("studies/layer_placement.yaml"))
    planned = plan(study, dataclasses.replace(file, scale=chosen), [seed])
    trial = next(t for t in planned.trials if t.arm == arm)
    dataset = load_dataset(planned.data.source, **trial.places.data)
    spec = trial.spec.train
    snapshot = train(
        spec,
        images,
        dataset,
        Path(".cabench/bench/training") / spec.key,
        snapshot_every=images,
    )
    model = load_ema(spec.model, snapshot)
    process = Process(spec.diffusion.prediction, spec.diffusion.schedule)
    report = Data(dataset.split("report"), tuple(planned.data.classes))
    return denoising_loss(model, process, report, **chosen.heldout.model_dump()).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", default="quick")
    parser.add_argument("--images", type=int, default=25600)
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        jobs = {
            (recipe, arm): pool.submit(
                heldout_loss, arguments.scale, arm, *recipe, arguments.images, arguments.seed
            )
            for recipe in RECIPES
            for arm in ARMS
        }
        print(f"{'batch':>5} {'rate':>8}" + "".join(f"{arm:>12}" for arm in ARMS))
        for batch, rate in RECIPES:
            losses = (jobs[(batch, rate), arm].result() for arm in ARMS)
            print(f"{batch:>5} {rate:>8g}" + "".join(f"{loss:>12.4f}" for loss in losses))


if __name__ == "__main__":
    main()
