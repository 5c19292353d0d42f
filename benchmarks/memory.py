"""Peak memory of a training step and of a sampling run, beside the static control's.

    python benchmarks/memory.py [--study studies/kernel_fusion.yaml] [--csv FILE]

Each model x arm of a study of kind `timing` in a process of its own, on one thread, at the study's
batch: MB at most, beside what the process held after a small run. The step's holds the model, its
gradients, AdamW's two moments, activations; the sampling run's the model and activations.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from kernels import added

from cabench.commands.cost_study import resolve
from cabench.config.cost_study import arms_on, read_cost_study
from cabench.cost import timing
from cabench.runtime.threads import one_thread

RUNS = {"step": timing.step_of, "sampling": timing.sampling_of}
STUDY = Path(__file__).parent.parent / "studies" / "kernel_fusion.yaml"


def measure(study: Path, model: str, arm: str, run: str) -> float:
    """MB at most over two runs: AdamW's moments are there from the second on."""
    cost_study = read_cost_study(study).study
    spec, batch = resolve(cost_study)[model, arm].spec, cost_study.models[model].batch
    with one_thread():
        RUNS[run](spec, 1)()  # libraries, caches
        return added(lambda: twice(RUNS[run](spec, batch)))


def twice(work: timing.Work) -> None:
    work()
    work()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--study", type=Path, default=STUDY)
    asked.add_argument("--csv")
    asked.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = asked.parse_args()
    if asked.one:
        return print(measure(asked.study, *asked.one))
    study = read_cost_study(asked.study).study
    rows = []
    for model, about in study.models.items():
        for run in RUNS if about.batch else ():
            found = {}
            for arm in arms_on(study, about):
                one = [sys.executable, __file__, "--study", asked.study, "--one", model, arm, run]
                done = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True)
                found[arm] = float(done.stdout)
            for arm, mb in found.items():
                ratio = mb / found[study.baseline]
                rows.append(
                    {
                        "model": model,
                        "batch": about.batch,
                        "run": run,
                        "arm": arm,
                        "mb": round(mb, 1),
                        "ratio": round(ratio, 3),
                    }
                )
                print(
                    f"{model:12} batch {about.batch} {run:9} {arm:14} {mb:8.0f} MB  {ratio:.2f}x",
                    flush=True,
                )
    if asked.csv:
        with open(asked.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
