"""Which prediction and noise schedule separates arms best, at a scale.

    python benchmarks/prediction.py [--scale quick] [--images 20000] [--seeds 3] [--jobs 2]
        [--batch 32] [--lr 3e-3]

Trains the control (native+dw) and can-3 under each setting on paired seeds, and prints for every
metric the paired difference in units of its own standard deviation over seeds. The setting with the
largest value is the most sensitive. Trials are stored in .cabench/bench.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from cabench.config.scale import Diffusion, Sweep
from cabench.config.study import read_scale, read_study
from cabench.execution.executors import ray
from cabench.execution.executors.base import Pool
from cabench.execution.progress import Progress
from cabench.execution.run import cores
from cabench.planning.trials import plan
from cabench.records.store import Store

SETTINGS = [
    ("flow", "linear"),
    ("v", "cosine"),
    ("eps", "cosine"),
    ("eps", "linear"),
]
CONTROL, ARMS = "native+dw", ("can-3",)
FIRST_SEED = 1000  # not a seed that tests claims
METRICS = ("kid", "condition_accuracy", "heldout_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", default="quick")
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--batch", type=int, help="instead of the scale's")
    parser.add_argument("--lr", type=float, help="instead of the scale's")
    arguments = parser.parse_args()

    study, base = read_study(Path("studies/layer_placement.yaml")), read_scale(arguments.scale)
    store = Store(Path(".cabench/bench/results"), Path(".cabench/bench"))
    seeds = [FIRST_SEED + i for i in range(arguments.seeds)]
    trials = {}
    for prediction, schedule in SETTINGS:
        recipe = {"images": arguments.images, "batch": arguments.batch, "lr": arguments.lr}
        recipe = {name: value for name, value in recipe.items() if value}
        scale = base.scale.model_copy(
            update={
                "diffusion": Diffusion(prediction=prediction, schedule=schedule),
                "training": base.scale.training.model_copy(update=recipe),
                "sampling": base.scale.sampling.model_copy(update={"sweep": Sweep()}),
            }
        )
        planned = plan(study, dataclasses.replace(base, scale=scale), seeds)
        for t in planned.trials:
            if t.arm in (CONTROL, *ARMS):
                trials[(prediction, schedule), t.arm, t.seed] = t
    missing = [t for t in trials.values() if store.record(t.key) is None]
    names = {t.key: f"{' '.join(k[0])} {k[1]} seed {k[2]}" for k, t in trials.items()}
    if missing:
        from rich.console import Console

        with Progress(Console(), names, dict.fromkeys(names, 1.0)) as view:
            ray.run(missing, store, Pool(arguments.jobs), "cpu", view.receive)

    titles = f"{'control':>9}{'paired difference':>20}{'|d|/sd':>8}"
    print(f"{'setting':<14}{'arm':<14}{'metric':<20}{titles}")
    for setting in SETTINGS:
        name = " ".join(setting)
        records = {
            arm: [store.record(trials[setting, arm, s].key) for s in seeds]
            for arm in (CONTROL, *ARMS)
        }
        for arm in ARMS:
            for metric in METRICS:
                ours, control = (
                    np.array([r.metrics[metric] for r in records[a]]) for a in (arm, CONTROL)
                )
                d = ours - control
                spread = d.std(ddof=1)
                print(
                    f"{name:<14}{arm:<14}{metric:<20}{control.mean():>9.4f}"
                    f"{d.mean():>+11.4f} sd {spread:.4f}{abs(d.mean()) / spread:>8.1f}"
                )
        seconds = [
            sum(v for k, v in r.timing.items() if "_s" in k and "per" not in k)
            for a in records.values()
            for r in a
        ]
        print(f"{name:<14}{np.mean(seconds):.0f} s per trial\n")


if __name__ == "__main__":
    main()
