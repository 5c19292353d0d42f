"""Training images/s of this code against another commit's, alternating in one run.

    python benchmarks/against.py COMMIT [--arms native+dw,can-3] [--stack 3] [--rounds 9]

Each side is a process of its own with its own source; this one starts them, and lets them work in
turn. A turn trains some images of a `quick` trial, in seconds of processor time. This code trains
`--stack` seeds together, compiled; a commit without stacks trains one. The ratio is that of
images per second of a core, with the 95 % bootstrap interval of its median over rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
ARMS = {
    "native+dw": {"methods": ["native"], "depthwise": "static"},
    "can-3": {"methods": ["can"]},
}
IMAGES = 1600  # of a turn and seed


# ---- in a process with one side's source --------------------------------------------------------


def serve(arm: str, stack: int) -> None:
    """Trains IMAGES per seed for each line of stdin, and prints the seconds of an image."""
    import dataclasses
    import time

    import torch

    torch.set_num_threads(1)
    import cabench
    from cabench.config.schema import Arm
    from cabench.config.study import read_scale, read_study
    from cabench.data import load_dataset
    from cabench.diffusion.training import TrainingRun
    from cabench.planning.trials import plan

    source = Path(cabench.__file__).parents[1]
    file = read_study(source / "studies" / "layer_placement.yaml")
    changed = file.study.model_copy(
        update={"arms": {arm: Arm.model_validate(ARMS[arm])}, "claims": [], "baseline": arm}
    )
    seeds = list(range(1000, 1000 + stack))
    planned = plan(dataclasses.replace(file, study=changed), read_scale("quick"), seeds)
    dataset = load_dataset(planned.data.source, **planned.data.options)
    runs = [
        TrainingRun(trial.spec.train, dataset, Path("nowhere"), "cpu") for trial in planned.trials
    ]
    batch = planned.scale.training.batch
    try:
        from cabench.diffusion.stack import Stack

        step = Stack(runs, Path(".cabench")).step
    except ImportError:
        runs = runs[:1]

        def step() -> None:
            runs[0].trainer.step(runs[0].data, runs[0].order)

    for _ in range(20):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        for _ in range(IMAGES // batch):
            step()
        print((time.process_time() - began) / (IMAGES * len(runs)), flush=True)


# ---- in the process that compares ---------------------------------------------------------------


def started(source: Path, arm: str, stack: int) -> subprocess.Popen[str]:
    """A process that serves turns with the source in a directory."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--serve", arm, "--stack", str(stack)],
        env=os.environ | {"PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def turn(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time per image."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit("a side could not start; its error is above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commit", nargs="?")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--stack", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.stack)
    if arguments.commit is None:
        parser.error("expected a commit to compare with")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        other = Path(folder) / "other"
        git = ["git", "-C", str(ROOT)]
        subprocess.run([*git, "worktree", "add", "-q", other, arguments.commit], check=True)
        stack.callback(subprocess.run, [*git, "worktree", "remove", "--force", other], check=True)
        for arm in arguments.arms.split(","):
            sides = [started(source, arm, arguments.stack) for source in (ROOT, other)]
            for side in sides:
                ready(side)
            rounds = np.array([[turn(side) for side in sides] for _ in range(arguments.rounds)])
            for side in sides:
                side.terminate()
            report(arm, rounds)
    return None


def report(arm: str, rounds: np.ndarray) -> None:
    """Prints the ratio of speeds from seconds per image (rounds, 2)."""
    ratios = rounds[:, 1] / rounds[:, 0]
    rng = np.random.default_rng(0)
    drawn = rng.choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    here, there = 1 / np.median(rounds, axis=0)
    print(
        f"{arm}: {here:.0f} images/s here, {there:.0f} there: "
        f"{np.median(ratios):.2f} times [{low:.2f}, {high:.2f}], {len(ratios)} rounds",
        flush=True,
    )


if __name__ == "__main__":
    main()
