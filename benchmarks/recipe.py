"""Compares training recipes by how well the control and can-3 learn under each.

    python benchmarks/recipe.py benchmarks/recipes/FILE.yaml [--workers 2]

The criterion is the same for both arms and blind to their contest: the scores of a recipe are the
means over the arms. Seeds are 1000 and up, which test no claim; samples are compared with
judge-train, never with the report split. Each run is a row of FILE.csv per length and scoring;
finished rows are not repeated, so the command resumes. Samples stay in .cabench/bench/recipe for
benchmarks/metric.py.

A file has:

    arms: {NAME: as in a study}
    seeds: [1000, 1001]
    lengths: [22400, 89600]         # images at which a run is scored
    n: 1000                         # samples
    base: {training: {...}, diffusion: {...}, sampling: {...}}        # over those of scale quick
    recipes: {NAME: {training: ..., embedder: ..., lengths: [...]}}   # over the base

A recipe may also have:

    seeds: [1000]                   # for those of the file
    optimiser: muon                 # of the hidden layers' matrices; muon_maps: and of the maps
    shuffled: 0.1                   # share of the training images whose labels change places
    ema: [2500, 10000]              # half-lives of further averages of the same run
    scorings: {NAME: {sampling: {steps: 8}, seed: 1, ema: 2500, n: 4000}}   # beside "default";
        # also clip: true, which limits the predicted image to [-1, 1] at each step
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cabench.config.yaml import Document, plain
from cabench.execution.run import cores

if TYPE_CHECKING:
    from torch import nn

    from cabench.diffusion.process import Process
    from cabench.diffusion.training import TrainingRun

CACHE = Path(".cabench")
SAMPLES = CACHE / "bench" / "recipe"
METRICS = (
    "kid",
    "kid_trained",
    "fid_lite0_112",
    "kid_classwise",
    "condition_accuracy",
    "kid_levels",
    "accuracy_trained",
)
STUDY = Path("studies/layer_placement.yaml")


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run, scored at several lengths and in several ways."""

    # fmt: off
    recipe: str
    arm: str
    seed: int
    options: dict[str, Any]     # training, diffusion, sampling, embedder, lengths, n, and so on
    methods: dict[str, Any]     # the arm, as in a study
    # fmt: on

    def samples(self, file: str, images: int, scoring: str) -> Path:
        name = "-".join(map(str, (self.recipe, self.arm, self.seed, images, scoring)))
        return SAMPLES / file / f"{name.replace('/', '_')}.npz"


class Optimisers:
    """Muon for hidden matrices, AdamW for the other parameters, as one optimiser."""

    def __init__(self, run: TrainingRun, maps: bool):
        import torch

        model, recipe = run.trainer.model, run.trainer.recipe
        muon = {name: p for name, p in model.named_parameters() if self.is_hidden(name, p, maps)}
        rest = [p for name, p in model.named_parameters() if name not in muon]
        self.parts = (
            torch.optim.Muon(
                muon.items(), recipe.lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, recipe.lr, betas=recipe.betas, weight_decay=0.0, fused=True),
        )
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @staticmethod
    def is_hidden(name: str, p: nn.Parameter, maps: bool) -> bool:
        """A matrix of attention or FFN, or with `maps` one that makes modulations or weights."""
        return p.ndim == 2 and (".blocks." in name or (maps and name.startswith("methods.")))

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()


def averages(run: TrainingRun, half_lives: list[int], ends: list[int]) -> Iterator[dict[int, Any]]:
    """Trains; yields at each of `ends` the averaged networks by half-life, 0 is the recipe's."""
    import torch

    from cabench.diffusion.training import Diverged, ema_decay

    trainer, batch = run.trainer, run.trainer.recipe.batch
    # A run that resumes from a trunk has no other averages
    others = {each: copy.deepcopy(trainer.ema) for each in half_lives}
    lists = {each: list(average.parameters()) for each, average in others.items()}
    current = list(trainer.model.parameters())
    for end in ends:
        loss = torch.zeros(())
        while trainer.seen < end:
            loss = trainer.step(run.data, run.order)
            with torch.no_grad():
                for each, average in lists.items():
                    weight = 1 - ema_decay(batch, each, trainer.seen)
                    torch._foreach_lerp_(average, current, weight)  # pyright: ignore
            if trainer.seen % (100 * batch) == 0 and not math.isfinite(float(loss)):
                raise Diverged(f"the loss became {float(loss)} after {trainer.seen} images")
            if trainer.seen == run.decay_begins:
                run.leave_trunk()
        yield {0: trainer.ema} | others


def run(job: Job, file: str) -> list[dict[str, Any]]:
    """Trains and scores; a row per length and scoring."""
    import torch

    torch.set_num_threads(1)
    from cabench.config.schema import Arm
    from cabench.config.study import read_scale, read_study
    from cabench.data import load_dataset
    from cabench.diffusion.batches import Data
    from cabench.diffusion.losses import denoising_loss
    from cabench.diffusion.process import Process
    from cabench.diffusion.sampling import SAMPLERS, Sampler, sample
    from cabench.diffusion.training import Diverged, TrainingRun
    from cabench.metrics.scorer import SampleScorer
    from cabench.planning.trials import plan
    from cabench.runtime.files import content_key

    options, lengths = job.options, sorted(job.options["lengths"])
    scale_file, study = read_scale("quick"), read_study(STUDY)
    scale = scale_file.scale
    for part in ("training", "diffusion"):
        changed = getattr(scale, part).model_copy(update=options.get(part, {}))
        scale = scale.model_copy(update={part: changed})
    arm = Arm.model_validate(job.methods)
    changed = study.study.model_copy(
        update={
            "arms": {job.arm: arm},
            "claims": [],
            "baseline": job.arm,
            "embedder": options.get("embedder"),
        }
    )
    study = dataclasses.replace(study, study=changed)
    planned = plan(study, dataclasses.replace(scale_file, scale=scale), [job.seed])
    (trial,) = planned.trials
    spec = trial.spec.train
    dataset = load_dataset(planned.data.source, **trial.places.data)
    scorers = {
        n: SampleScorer(dataset, n, CACHE, metrics=METRICS, reference="judge-train")
        for n in {options["n"]} | {s["n"] for s in options.get("scorings", {}).values() if "n" in s}
    }
    judge = Data(dataset.split("judge-train"), spec.model.embedder.streams)
    process = Process(spec.diffusion.prediction, spec.diffusion.schedule)

    SAMPLERS["dpmpp_2m, clipped"] = Sampler(clipped_solver, flow=True, clipped=True)
    plain_run = not ({"optimiser", "shuffled", "ema"} & options.keys())
    trunk = spec.trunk
    folder = SAMPLES / "trunks" / content_key("recipe", (trunk or spec).dump())
    # The trunk of a run with further averages is the same; but such a run starts at the beginning
    keeps = "optimiser" not in options and "shuffled" not in options
    training = TrainingRun(spec, dataset, folder / "none", "cpu", folder if keeps else None)
    if plain_run and trunk is not None:
        training.resume(lengths[-1])
    if share := options.get("shuffled"):
        shuffle(training, share, job.seed)
    if optimiser := options.get("optimiser"):
        training.trainer.optimiser = Optimisers(training, optimiser == "muon_maps")  # pyright: ignore
    batch = spec.training.batch
    ends = [math.ceil(images / batch) * batch for images in lengths]
    rows, seconds, began = [], 0.0, time.process_time()
    base = {"recipe": job.recipe, "arm": job.arm, "seed": job.seed}
    try:
        each_length = averages(training, options.get("ema", []), ends)
        for images, networks in zip(lengths, each_length, strict=False):
            seconds += time.process_time() - began
            for name, scoring in {"default": {}, **options.get("scorings", {})}.items():
                model = networks[scoring.get("ema", 0)].eval()
                scorer = scorers[scoring.get("n", options["n"])]
                sampling = {**options.get("sampling", {}), **scoring.get("sampling", {})}
                sampling = scale.sampling.model_copy(update=sampling)
                began = time.process_time()
                rows_of = torch.from_numpy(scorer.rows)
                drawn = sample(
                    model,
                    process,
                    lambda index, of=rows_of: judge.streams_at(of[index]),
                    scorer.n,
                    spec.model.backbone.shape,
                    seed=job.seed + 100_000 * scoring.get("seed", 0),
                    sampler=sampling.sampler + ", clipped" * scoring.get("clip", False),
                    steps=sampling.steps,
                    batch=sampling.batch,
                ).numpy()
                row = base | {"images": images, "scoring": name, "train_s": seconds}
                row["sample_s"] = time.process_time() - began
                path = job.samples(file, images, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, images=drawn, labels=scorer.labels)
                row |= scorer.score(drawn, scorer.labels)
                if name == "default" or "ema" in scoring:
                    loss = denoising_loss(model, process, judge, 2000, 10)
                    row |= {"loss": loss.mean(), "loss_upper": loss[1:].mean()}
                rows.append(row | {"error": ""})
            began = time.process_time()
    except Diverged as error:
        return [*rows, base | {"images": lengths[-1], "error": str(error)}]
    return rows


def clipped_solver(process: Process) -> Any:
    """DPM-Solver++ whose predicted images have values in [-1, 1]."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    from cabench.diffusion.sampling import SAMPLERS

    config = dict(SAMPLERS["dpmpp_2m"].build(process).config)
    # With sample_max_value 1, diffusers' dynamic threshold is always 1
    return DPMSolverMultistepScheduler.from_config(config, thresholding=True, sample_max_value=1.0)


def shuffle(run: TrainingRun, share: float, seed: int) -> None:
    """Labels of a share of the training images change places."""
    import torch

    rng = np.random.default_rng(seed)
    label = run.data.streams["label"]
    rows = rng.permutation(len(label))[: round(share * len(label))]
    label[torch.from_numpy(rows)] = label[torch.from_numpy(rng.permutation(rows))]


def jobs_of(content: dict[str, Any]) -> list[Job]:
    """Every run of a file."""
    base = {"n": content["n"], "lengths": content["lengths"], **content.get("base", {})}
    jobs = []
    for name, recipe in content["recipes"].items():
        options = base | {
            key: {**base.get(key, {}), **value} if isinstance(value, dict) else value
            for key, value in (recipe or {}).items()
            if key not in ("arms", "seeds")
        }
        arms = (recipe or {}).get("arms", content["arms"])
        jobs += [
            Job(name, arm, seed, options, methods)
            for seed in (recipe or {}).get("seeds", content["seeds"])
            for arm, methods in arms.items()
        ]
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--workers", type=int, default=cores())
    arguments = parser.parse_args()
    content = plain(Document.read(arguments.file, "recipes").content, "recipes")
    table = arguments.file.with_suffix(".csv")
    finished = pd.read_csv(table) if table.exists() else pd.DataFrame()
    have = (
        set()
        if finished.empty
        else set(finished[["recipe", "arm", "seed"]].itertuples(index=False, name=None))
    )
    columns = ["recipe", "arm", "seed", "images", "scoring", *METRICS, "loss", "loss_upper"]
    columns += ["train_s", "sample_s", "error"]
    if not finished.empty and list(finished.columns) != columns:
        raise SystemExit(f"{table} has other columns than this command writes: move it away")
    left = [job for job in jobs_of(content) if (job.recipe, job.arm, job.seed) not in have]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, job, arguments.file.stem) for job in left]):
            with table.open("a", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, columns)
                if handle.tell() == 0:
                    writer.writeheader()
                writer.writerows(future.result())
    scores = pd.read_csv(table)
    values = [*METRICS, "loss", "loss_upper", "train_s", "sample_s"]
    print(scores.groupby(["images", "recipe", "scoring"])[values].mean().round(4).to_string())


if __name__ == "__main__":
    main()
