"""Peak memory of a training step and of a sampling run, relative to the static control's.

    python benchmarks/memory.py [--study studies/kernel_fusion.yaml] [--csv FILE]

Runs each model and arm of a study of kind `timing` in its own process, on one thread, at the
study's batch, and prints the peak above what the process holds after a small run. A step needs the
model, its gradients, AdamW's two moments and activations; a sampling run the model and activations.
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
    """Peak MB over two runs; AdamW's moments exist from the second on."""
    cost_study = read_cost_study(study).study
    spec, batch = resolve(cost_study)[model, arm].spec, cost_study.models[model].batch
    with one_thread():
        RUNS[run](spec, 1)()  # libraries, caches
        return added(lambda: twice(RUNS[run](spec, batch)))


def twice(work: timing.Work) -> None:
    work()
    work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--csv")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return print(measure(arguments.study, *arguments.one))
    study = read_cost_study(arguments.study).study
    rows = []
    for model, about in study.models.items():
        for run in RUNS if about.batch else ():
            peaks = {}
            for arm in arms_on(study, about):
                one = [
                    sys.executable,
                    __file__,
                    "--study",
                    arguments.study,
                    "--one",
                    model,
                    arm,
                    run,
                ]
                done = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True)
                peaks[arm] = float(done.stdout)
            for arm, mb in peaks.items():
                ratio = mb / peaks[study.baseline]
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
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
