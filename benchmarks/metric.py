"""Which metric measures shape: its power to see known changes, and what grain does to it.

    python benchmarks/recipe.py benchmarks/recipes/quick.yaml
    python benchmarks/metric.py benchmarks/recipes/metric.csv [--workers 2] [--grey]

Reads the samples that the first command leaves in .cabench. Candidates are compared on changes that
are known to be worse (a tenth fewer images, a tenth of the labels shuffled), on arms and seeds that
the first command trains, and on graded corruptions of the control's samples. Real images are those
of judge-train, never of the report split. The criterion looks at no difference between arms.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from cabench.execution.run import cores
from cabench.metrics.extractors.lite0 import Lite0Levels

CACHE = Path(".cabench")
SAMPLES = CACHE / "bench" / "recipe" / "quick"
ARMS, SEEDS = ("native+dw", "can-3"), (1000, 1001, 1002)
CONTROL = "native+dw"
BASE, MORE, SHUFFLED = "quick", "a tenth more images", "a tenth of labels shuffled"
LENGTHS = {BASE: 90000, MORE: 99000, SHUFFLED: 90000}
SECOND = "second sampling seed"
SCORINGS = (SECOND, "8 steps", "16 steps", "24 steps", "unipc", "EMA 2500", "EMA 10000")
N = 1000
SHOWN = (  # corruptions whose effects are printed beside each other
    ("grain", 2.0),
    ("grain", 4.0),
    ("background noise", 4.0),
    ("black level", 16.0),
    ("one-pixel shift", 0.5),
    ("deformation", 0.5),
    ("swapped parts", 0.1),
    ("swapped parts", 0.25),
    ("wrong class", 0.1),
)
LOW_PASS = 0.7  # standard deviation in pixels
FLOOR = 25  # grey levels: darker pixels become black


@dataclass(frozen=True)
class Job:
    """A set of samples: of which run, how scored, and what was done to it."""

    recipe: str
    arm: str
    seed: int
    scoring: str = "default"
    corruption: str = ""
    strength: float = 0.0

    @property
    def path(self) -> Path:
        name = f"{self.recipe}-{self.arm}-{self.seed}-{LENGTHS[self.recipe]}-{self.scoring}"
        return SAMPLES / f"{name}.npz"


def jobs() -> Iterator[Job]:
    from cabench.metrics.graded import GRADED

    for recipe, arm, seed in itertools.product(LENGTHS, ARMS, SEEDS):
        yield Job(recipe, arm, seed)
    for arm, seed, scoring in itertools.product(ARMS, SEEDS, SCORINGS):
        yield Job(BASE, arm, seed, scoring)
    for seed, (name, entry) in itertools.product(SEEDS[:2], GRADED.items()):
        for strength in entry.strengths:
            yield Job(BASE, CONTROL, seed, "default", name, strength)


# ---- candidates ---------------------------------------------------------------------------------

Images = np.ndarray  # (n, C, H, W) uint8
Features = dict[str, np.ndarray]


def low_pass(images: Images) -> Images:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(images.astype(np.float32), (0, 0, LOW_PASS, LOW_PASS), mode="nearest")
    return np.rint(smooth).astype(np.uint8)


def floored(images: Images) -> Images:
    return np.where(images < FLOOR, 0, images).astype(np.uint8)


@cache
def lite0(size: int) -> Callable[[Images], Features]:
    """EfficientNet-Lite0 on images enlarged to `size` pixels."""
    from cabench.metrics.extractors import lite0 as module

    if size == module.SIZE:
        return module.Lite0(CACHE).features
    from cabench.metrics.extractors.lite0_network import Lite0Network
    from cabench.metrics.extractors.onnx import export_network

    path = CACHE / "judge" / f"bench-lite0-{size}.onnx"
    if not path.exists():
        network = Lite0Network(module.weights_path(), size)
        export_network(network, path, size, module.OPSET, list(module.WIDTHS))
    extractor = module.Lite0(CACHE, path=path)
    extractor.size = size
    return extractor.features


@cache
def setting():
    """Data set, scorer, and the real images that samples are compared with."""
    import torch

    torch.set_num_threads(1)
    from cabench.data import load_dataset
    from cabench.metrics.scorer import SampleScorer

    chosen = ("kid_classwise", "condition_accuracy", "accuracy_trained")
    dataset = load_dataset("fashion16")
    scorer = SampleScorer(dataset, N, CACHE, metrics=chosen, reference="judge-train")
    real = dataset.split("judge-train").images[scorer.chosen["judge-train"]]
    return scorer, real


LEVELS = cache(lambda: Lite0Levels(CACHE))
FEATURES: dict[str, Callable[[Images], Features]] = {
    "lite0": lambda images: lite0(64)(images),
    "lite0, 32 px": lambda images: lite0(32)(images),
    "lite0, 128 px": lambda images: lite0(128)(images),
    "lite0, low-pass": lambda images: lite0(64)(low_pass(images)),
    "lite0, floor": lambda images: lite0(64)(floored(images)),
    "lite0, 8 levels": lambda images: LEVELS().features(images),
}


@cache
def real_features(name: str) -> Features:
    return FEATURES[name](setting()[1])


def scores(images: Images, labels: np.ndarray) -> dict[str, float]:
    """Every candidate, lower is better."""
    from cabench.metrics import trained
    from cabench.metrics.fidelity import fid, kid

    scorer, real = setting()
    known = scorer.score(images, labels)
    values = {
        "KID class-wise": known["kid_classwise"],
        "1 - condition accuracy": 1 - known["condition_accuracy"],
        "1 - accuracy, trained": 1 - known["accuracy_trained"],
    }
    for name in FEATURES:
        ours, theirs = FEATURES[name](images), real_features(name)
        values[f"KID 1280, {name}"] = kid(ours["1280"], theirs["1280"])
        if name in ("lite0", "lite0, low-pass"):
            values[f"KID 112, {name}"] = kid(ours["112"], theirs["112"])
            values[f"FID 112, {name}"] = fid(ours["112"], theirs["112"])
    for seed in trained.SEEDS:
        model, spread = trained.trained(scorer, seed)
        ours, theirs = (trained.embed(model, each) / spread for each in (images, real))
        values[f"KID trained, network {seed}"] = kid(ours, theirs)
    each = [values[f"KID trained, network {seed}"] for seed in trained.SEEDS]
    values["KID trained, mean"] = float(np.mean(each))
    return values


def measure(job: Job) -> list[dict[str, object]]:
    from cabench.metrics.graded import GRADED

    stored = np.load(job.path)
    images, labels = stored["images"], stored["labels"]
    if job.corruption:
        rng = np.random.RandomState(job.seed)
        images = GRADED[job.corruption].apply(images, labels, job.strength, rng)
    return [
        {**vars(job), "candidate": name, "score": score}
        for name, score in scores(images, labels).items()
    ]


# ---- tables -------------------------------------------------------------------------------------


def tables(frame: pd.DataFrame) -> str:
    """Power, noise of sampling, and the strengths that cost as much as a tenth fewer images."""
    rows = []
    plain = frame[frame["corruption"].isna()]
    for name, group in frame.groupby("candidate", sort=False):
        own = plain[(plain["candidate"] == name) & (plain["scoring"] == "default")]
        by = own.pivot_table(index=["arm", "seed"], columns="recipe", values="score")
        less, shuffled = by[BASE] - by[MORE], by[SHUFFLED] - by[BASE]
        second = plain[(plain["candidate"] == name) & (plain["scoring"] == SECOND)]
        again = by[BASE] - second.set_index(["arm", "seed"])["score"]
        row = {
            "candidate": name,
            "score": by[BASE].mean(),
            "less": less.mean(),
            "less, mean/sd": less.mean() / less.std(ddof=1),
            "shuffled": shuffled.mean(),
            "shuffled, mean/sd": shuffled.mean() / shuffled.std(ddof=1),
            "sd of seeds": by[BASE].groupby("arm").std(ddof=1).mean(),
            "sd of sampling": again.std(ddof=1) / 2**0.5,
        }
        corrupted = group[group["corruption"].notna()].groupby(["corruption", "strength"])["score"]
        intact = by[BASE].loc[[(CONTROL, seed) for seed in SEEDS[:2]]].mean()
        means = corrupted.mean() - intact
        for corruption in means.index.unique("corruption"):
            row[corruption] = strength(means[corruption], less.mean())
        rows.append(row)
    changes = relative_changes(frame)
    of_base = plain[plain["recipe"] == BASE]
    scorings = of_base.pivot_table(index="candidate", columns="scoring", values="score", sort=False)
    parts = (pd.DataFrame(rows).set_index("candidate"), changes, scorings)
    return "\n\n".join(part.to_string(float_format=lambda x: f"{x:.3g}") for part in parts)


def relative_changes(frame: pd.DataFrame) -> pd.DataFrame:
    """The change of each candidate by grain and by shapes, relative to its score."""
    of_control = frame[(frame["recipe"] == BASE) & (frame["arm"] == CONTROL)]
    first = (of_control["scoring"] == "default") & of_control["seed"].isin(SEEDS[:2])
    of_control = of_control[first]
    plain = of_control[of_control["corruption"].isna()].groupby("candidate")["score"].mean()
    corrupted = of_control.groupby(["candidate", "corruption", "strength"], sort=False)["score"]
    columns = corrupted.mean().unstack(["corruption", "strength"])[list(SHOWN)]
    return columns.sub(plain, axis=0).div(plain, axis=0)


def strength(changes: pd.Series, cost: float) -> float:
    """The strength that costs as much; infinite where the largest costs less."""
    x, y = [0.0, *changes.index], [0.0, *changes]
    for i in range(1, len(x)):
        if y[i] >= cost > 0:
            return x[i - 1] + (x[i] - x[i - 1]) * (cost - y[i - 1]) / (y[i] - y[i - 1])
    return float("inf")


def grey_levels() -> str:
    """Spread of the grey values and share of faint pixels: real images, then the control's."""
    sets = {"real": setting()[1]}
    for scoring in ("8 steps", "default", "24 steps"):
        sets[scoring] = np.load(Job(BASE, CONTROL, SEEDS[0], scoring).path)["images"]
    rows = [
        (name, images.std(), ((images > 0) & (images < FLOOR)).mean())
        for name, images in sets.items()
    ]
    table = pd.DataFrame(rows, columns=pd.Index(["images", "sd", "share of 1 to 24"]))
    return table.to_string(index=False, float_format=lambda x: f"{x:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--grey", action="store_true", help=(grey_levels.__doc__ or ""))
    arguments = parser.parse_args()
    if arguments.grey:
        print(grey_levels())
        return
    if not arguments.file.exists():
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
            rows = [row for part in pool.map(measure, jobs(), chunksize=4) for row in part]
        pd.DataFrame(rows).to_csv(arguments.file, index=False)
    print(tables(pd.read_csv(arguments.file)))


if __name__ == "__main__":
    main()
