"""One trial: train -> sample -> score -> cost -> record. The one module that joins all stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout

from cabench import metrics
from cabench.cost.macs import cost
from cabench.data import Dataset
from cabench.diffusion.checkpoints import load, load_ema, load_existing, snapshot_path
from cabench.diffusion.loop import Job
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import ALONE, Ranks
from cabench.diffusion.training import marks
from cabench.diffusion.weight_diagnostics import last_point
from cabench.errors import DataMissing, describe, is_machine_fault
from cabench.execution import grids, joint
from cabench.execution.assets import ASSETS
from cabench.execution.sampling import Progress, Sampler, Samples, SplitScores, floor_scores
from cabench.metrics.scorer import SampleScorer
from cabench.planning.trials import Trial
from cabench.plugins import load_plugins
from cabench.records.schema import Record
from cabench.records.spec import Json, TrialSpec
from cabench.records.store import CURVES, NEAR, SHEET, Store
from cabench.registry import BACKBONES, METRICS
from cabench.runtime.environment import environment, peak_memory_mb
from cabench.runtime.files import LOG, write_json

MEASURED = ("metrics", "protocol", "cost", "timing", "diagnostics")  # {} in a failed record


@contextlib.contextmanager
def claim(trial: Trial, store: Store, wait: bool = True) -> Iterator[bool]:
    """Locks a trial and its training for the block.

    Without `wait` it is False where another process is at work on either.
    """
    patience = -1 if wait else 0
    with contextlib.ExitStack() as locks:
        free = True
        try:
            locks.enter_context(store.lock(trial.key).acquire(timeout=patience))
            if not _is_complete(trial, store):
                training = store.lock(trial.spec.train_key)
                locks.enter_context(training.acquire(timeout=patience))
        except Timeout:
            locks.close()
            free = False
        yield free


def _is_complete(trial: Trial, store: Store) -> bool:
    record = store.sound(trial.key)
    return record is not None and record.complete


def run_trial(
    trial: Trial,
    store: Store,
    device: str = "cpu",
    progress: Progress = lambda *_: None,
    ranks: Ranks = ALONE,
) -> Record:
    """Run one trial unless its record exists; return the record. An arm's error fails the record.

    Of several ranks the leader alone calls this, and the others follow it. Faults of the machine,
    such as a full disk, and of the data are raised, and errors that may come from a lost rank.
    """
    with claim(trial, store):
        return run_claimed(trial, store, device, progress, ranks)


def run_claimed(
    trial: Trial, store: Store, device: str, progress: Progress, ranks: Ranks = ALONE
) -> Record:
    """`run_trial` within a `claim` of the trial."""
    known = store.sound(trial.key)
    if known is not None and known.complete:
        return known  # written by another process in the meantime
    content = begun(trial) | {"environment": environment(device) | shared_by(trial, ranks)}
    began = time.perf_counter()
    try:
        load_plugins(trial.plugins)
        content |= measure(trial, store, device, progress, ranks)
        content["timing"]["trial_s"] = time.perf_counter() - began
        return store.write_record(content)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # one arm's fault must not end the study
        if is_machine_fault(error) or isinstance(error, DataMissing) or ranks.broken:
            raise
        previous = store.record(trial.key)
        if previous is not None and previous.complete:  # lost a file beside it
            LOG.warning("%s is kept as it was: %s", trial.key, describe(error))
            return previous
        return store.write_record(failed(content, describe(error)))


def begun(trial: Trial) -> Json:
    """The content of the trial's record before it is measured."""
    spec = trial.spec.dump()
    return {"key": trial.key, "status": "complete", "error": None, "spec": spec, "environment": {}}


def failed(content: Json, error: str) -> Json:
    """The content of a record whose trial failed with this error."""
    return content | {"status": "failed", "error": error} | {part: {} for part in MEASURED}


def write_failed(trial: Trial, store: Store, error: str) -> Record:
    """The record of a trial whose processes died, unless another process completed it."""
    with store.lock(trial.key):
        record = store.record(trial.key)
        if record is not None and record.complete:
            return record
        return store.write_record(failed(begun(trial), error))


@dataclass(frozen=True)
class Trained:
    """The outcome of the training stage."""

    snapshot: Path  # the averaged network
    curve: Json  # losses and weight diagnostics, by images seen
    seconds: float


def shared_by(trial: Trial, ranks: Ranks) -> Json:
    """What decides the order of summation beside the machine: ranks, micro-batches, recomputation.

    It is not part of the key: a trial may resume on another number of ranks.
    """
    count = {"ranks": ranks.count} if ranks.count > 1 else {}
    return count | {name: value for name, value in asdict(trial.passes).items() if value}


def measure(
    trial: Trial, store: Store, device: str, progress: Progress, ranks: Ranks = ALONE
) -> Json:
    """Metrics, protocol, cost, timing and diagnostics of a trial, as its record holds them.

    Writes the files beside the record.
    """
    spec = trial.spec
    ranks.call(joint.prepare, trial, store)
    dataset, scorers = scorers_of(trial, store, device)

    trained = _train(trial, store, device, progress, ranks)
    guide = _guide(trial, store, device, progress, ranks)
    sampler = Sampler(trial, store, trained.snapshot, guide, device, progress, ranks)
    timing = {name: s for scorer in scorers for name, s in sampler.fill(scorer).items()}
    progress("score", 0.0, "real images")
    began = time.perf_counter()
    for scorer in scorers:
        scorer.prepare()
    timing["reference_s"] = time.perf_counter() - began
    splits = [sampler.score_split(scorer) for scorer in scorers]
    samples = [split.samples for split in splits]
    scores = {name: value for split in splits for name, value in split.metrics.items()}
    scores |= _score_model(spec, trained.snapshot, dataset, device)

    write_json(store.beside(trial.key, CURVES), trained.curve)
    return {
        "metrics": scores,
        "protocol": _protocol(trial, dataset, samples)
        | {
            "sheet": grids.write_samples(
                store.beside(trial.key, SHEET),
                samples,
                spec.train.text is not None,
                spec.train.model.embedder.maps or (),
            )
        },
        "cost": cost(spec.train.model).dump(),
        "timing": _timing(spec, trained, timing, splits),
        "diagnostics": {
            "weights": last_point(trained.curve.get("weights", {})),
            "neighbours": grids.write_nearest(store.beside(trial.key, NEAR), samples[0]),
        },
    }


def scorers_of(
    trial: Trial, store: Store, device: str = "cpu"
) -> tuple[Dataset, list[SampleScorer]]:
    """The data of a trial, and a scorer per split that its samples are conditioned on."""
    dataset = ASSETS.encoded(trial.spec.train, trial.places, store.cache)
    chosen = metrics.needing("samples", trial.spec.score.metrics)
    clip = None
    if trial.spec.score.clip is not None and trial.places.clip is not None:
        clip = ASSETS.clip(trial.spec.score.clip, trial.places.clip)
    return dataset, ASSETS.scorers(trial.spec, dataset, chosen, store.cache, clip, device)


def _train(trial: Trial, store: Store, device: str, progress: Progress, ranks: Ranks) -> Trained:
    images = trial.spec.images

    def show(seen: int, loss: float) -> None:
        progress("train", min(1, seen / images), f"loss {loss:.4f}")

    with contextlib.ExitStack() as locks:
        beside = _beside(trial, store, locks)
        snapshot = ranks.call(joint.trained, trial, store, device, progress=show, beside=beside)
    _, metadata = load_existing(snapshot)
    return Trained(snapshot, metadata["curve"], metadata["seconds"])


def _guide(
    trial: Trial, store: Store, device: str, progress: Progress, ranks: Ranks
) -> Path | None:
    """The snapshot that guides the samples, or None; trained where the training has left none.

    Up to it the rate is constant, so the trial's training and its trunk have the same bits there.
    """
    spec, images = trial.spec.train, trial.spec.sample.autoguidance
    if images is None:
        return None
    own = snapshot_path(store.training(spec.key), marks(spec.training.batch, images, images)[-1])
    if load(own) is not None:
        return own
    trunk = spec.trunk or spec
    keep = trial.keep_state or store.training(trunk.key).exists()  # a longer run may need it

    def show(seen: int, loss: float) -> None:
        progress("train", min(1, seen / images), "the guide")

    with store.lock(trunk.key) if trunk is not spec else contextlib.nullcontext():
        return ranks.call(joint.trained_guide, trial, store, device, keep, progress=show)


def _beside(trial: Trial, store: Store, locks: contextlib.ExitStack) -> list[Job]:
    """Training runs of the arm's other seeds that no other process is at work on; locks them."""
    jobs = []
    for seed in trial.beside:
        spec = trial.spec.train.of_seed(seed)
        try:
            locks.enter_context(store.lock(spec.key).acquire(timeout=0))
        except Timeout:
            continue
        jobs.append(joint.job(spec, store))
    return jobs


def _score_model(
    spec: TrialSpec, snapshot: Path, dataset: Dataset, device: str
) -> dict[str, float]:
    """Scores of the averaged network itself, such as its held-out loss."""
    model = load_ema(spec.train.model, snapshot, device)
    process = Process(spec.train.diffusion.prediction, spec.train.diffusion.schedule)
    heldout = spec.score.heldout.dump()
    scores: dict[str, float] = {}
    for name in metrics.needing("model", spec.score.metrics):
        scores |= METRICS.get(name).compute(model, process, dataset, heldout, device)
    return scores


def _protocol(trial: Trial, dataset: Dataset, samples: list[Samples]) -> Json:
    """How the numbers come about, for tables and reports."""
    spec, backbone = trial.spec, trial.spec.train.model.backbone
    protocol = dict(samples[0].scorer.protocol)
    if trial.tuning is not None:
        protocol["tuning"] = trial.tuning.dump()
    if dataset.vae is not None:
        protocol["vae"] = asdict(dataset.vae)
    return protocol | {
        "data": dataset.name,
        "backbone": BACKBONES.get(backbone.kind).describe(backbone.dump()),
        "training": _training(spec, trial.tuning is not None),
        "images": spec.images,
        "guidance": spec.guidance,
        **spec.sample.dump(),
        **({"init_from": spec.train.init_from} if spec.train.init_from else {}),
        "floor": {k: v for each in samples for k, v in floor_scores(each.scorer).items()},
        "heldout_split": "report",
        "heldout_pictures": spec.score.heldout.images,
    }


def _training(spec: TrialSpec, tuned: bool) -> str:
    recipe, diffusion = spec.train.training, spec.train.diffusion
    rate = "at a rate searched for each arm" if tuned else format(recipe.lr, "g")
    decay = "" if recipe.decay is None else f" with decay over {recipe.decay.over:,} images"
    return (
        f"{diffusion.prediction} prediction, {diffusion.schedule} schedule, "
        f"{recipe.optimiser_title} {rate}{decay}, "
        f"batch {recipe.batch}"
    )


def _timing(
    spec: TrialSpec, trained: Trained, before: dict[str, float], splits: list[SplitScores]
) -> dict[str, float]:
    """Seconds of each step, training images per second, peak memory in MB."""
    timing = {"train_s": trained.seconds, "train_images_per_s": spec.images / trained.seconds}
    timing |= before
    for split in splits:
        timing |= split.timing
    return timing | {"peak_rss_mb": peak_memory_mb()}
