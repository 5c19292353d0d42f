"""Compares training recipes by how well the control and can-3 learn under each.

    python benchmarks/recipe.py benchmarks/recipes/FILE.yaml [--workers 2]

The criterion is the same for both arms and blind to their contest: the scores of a recipe are the
means over the arms. Seeds are 1000 and up, which test no claim; samples are compared with
judge-train, never with the report split. Each run is a row of FILE.csv; finished rows are not
repeated, so the command resumes.

A file has:

    arms: {NAME: as in a study}
    seeds: [1000, 1001]
    lengths: [22400, 89600]         # images at which a run is scored
    n: 1000                         # samples
    base: {training: {...}, diffusion: {...}, sampling: {...}}        # over those of scale quick
    recipes: {NAME: {training: ..., embedder: ..., lengths: [...]}}   # over the base
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from cabench.config.yaml import Document, plain
from cabench.execution.run import cores

CACHE = Path(".cabench")
METRICS = ("kid", "fid_lite0_112", "kid_classwise", "condition_accuracy")
STUDY = Path("studies/layer_placement.yaml")


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run, scored at several lengths."""

    # fmt: off
    recipe: str
    arm: str
    seed: int
    options: dict[str, Any]     # training, diffusion, sampling, embedder, lengths, n
    methods: dict[str, Any]     # the arm, as in a study
    # fmt: on


def run(job: Job) -> list[dict[str, Any]]:
    """Trains and scores; a row per length."""
    import torch

    torch.set_num_threads(1)
    from cabench.config.schema import Arm
    from cabench.config.study import read_scale, read_study
    from cabench.data import load_dataset
    from cabench.diffusion.batches import Data
    from cabench.diffusion.checkpoints import load_ema
    from cabench.diffusion.losses import denoising_loss
    from cabench.diffusion.process import Process
    from cabench.diffusion.sampling import sample
    from cabench.diffusion.training import Diverged, train
    from cabench.metrics.scorer import SampleScorer
    from cabench.planning.trials import plan
    from cabench.runtime.files import content_key

    options, lengths = job.options, sorted(job.options["lengths"])
    file, study = read_scale("quick"), read_study(STUDY)
    scale = file.scale
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
    planned = plan(study, dataclasses.replace(file, scale=scale), [job.seed])
    (trial,) = planned.trials
    spec = trial.spec.train
    dataset = load_dataset(planned.data.source, **trial.places.data)
    scorer = SampleScorer(dataset, options["n"], CACHE, metrics=METRICS, reference="judge-train")
    judge = Data(dataset.split("judge-train"), spec.model.embedder.streams)
    process = Process(spec.diffusion.prediction, spec.diffusion.schedule)
    sampling = scale.sampling.model_copy(update=options.get("sampling", {}))
    rows, seconds = [], 0.0
    folder = CACHE / "bench" / "recipe" / content_key("recipe", spec.dump())
    for images in lengths:
        row = {"recipe": job.recipe, "arm": job.arm, "seed": job.seed, "images": images}
        began = time.process_time()
        try:
            snapshot = train(spec, images, dataset, folder, snapshot_every=images)
        except Diverged as error:
            return [*rows, row | {"error": str(error)}]
        seconds += time.process_time() - began
        model = load_ema(spec.model, snapshot)
        began = time.process_time()
        drawn = sample(
            model,
            process,
            judge.streams_at(torch.from_numpy(scorer.rows)),
            spec.model.backbone.shape,
            seed=job.seed,
            sampler=sampling.sampler,
            steps=sampling.steps,
            batch=sampling.batch,
        )
        sampled = time.process_time() - began
        scores = scorer.score(drawn.numpy(), scorer.labels)
        loss = denoising_loss(model, process, judge, 2000, 10)
        row |= {**scores, "loss": loss.mean(), "loss_upper": loss[1:].mean()}
        rows.append(row | {"train_s": seconds, "sample_s": sampled, "error": ""})
    return rows


def jobs_of(content: dict[str, Any]) -> list[Job]:
    """Every run of a file."""
    base = {"n": content["n"], "lengths": content["lengths"], **content.get("base", {})}
    jobs = []
    for name, recipe in content["recipes"].items():
        options = base | {
            key: {**base.get(key, {}), **value} if isinstance(value, dict) else value
            for key, value in (recipe or {}).items()
            if key != "arms"
        }
        arms = (recipe or {}).get("arms", content["arms"])
        jobs += [
            Job(name, arm, seed, options, methods)
            for seed in content["seeds"]
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
    columns = ["recipe", "arm", "seed", "images", *METRICS, "loss", "loss_upper", "train_s"]
    columns += ["sample_s", "error"]
    left = [job for job in jobs_of(content) if (job.recipe, job.arm, job.seed) not in have]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, job) for job in left]):
            with table.open("a", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, columns)
                if handle.tell() == 0:
                    writer.writeheader()
                writer.writerows(future.result())
    scores = pd.read_csv(table)
    values = [*METRICS, "loss", "loss_upper", "train_s", "sample_s"]
    print(scores.groupby(["images", "recipe"])[values].mean().round(4).to_string())


if __name__ == "__main__":
    main()
