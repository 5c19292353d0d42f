"""What all ranks of a trial compute together: functions that the leader calls on each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cabench.diffusion import graphs
from cabench.diffusion.batches import Data
from cabench.diffusion.checkpoints import load_ema
from cabench.diffusion.compiled_network import CompiledNetwork
from cabench.diffusion.loop import Job, train
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import Ranks
from cabench.diffusion.sampling import Network, sample
from cabench.diffusion.training import Progress
from cabench.errors import CabenchError, describe, is_machine_fault
from cabench.execution.assets import ASSETS
from cabench.metrics.extractors import Features
from cabench.metrics.extractors.base import on_white
from cabench.planning.trials import Trial
from cabench.plugins import load_plugins
from cabench.records.spec import TrainSpec
from cabench.records.store import Store


def prepare(ranks: Ranks, trial: Trial, store: Store) -> None:
    """Loads the trial's plugins and data."""
    load_plugins(trial.plugins)
    ASSETS.encoded(trial.spec.train, trial.places, store.cache)


def job(spec: TrainSpec, store: Store) -> Job:
    """A training run and its directories in the cache."""
    trunk = None if spec.trunk is None else store.training(spec.trunk.key)
    return Job(spec, store.training(spec.key), trunk)


def trained(
    ranks: Ranks,
    trial: Trial,
    store: Store,
    device: str,
    *,
    progress: Progress = lambda seen, loss: None,
    beside: Sequence[Job] = (),
) -> Path:
    """Trains a trial's network; the snapshot's path."""
    spec = trial.spec.train
    own = job(spec, store)
    return train(
        spec,
        trial.spec.images,
        ASSETS.encoded(spec, trial.places, store.cache),
        own.folder,
        device=device,
        snapshot_every=trial.snapshot_every,
        keep_state=trial.keep_state,
        progress=progress,
        trunk=own.trunk,
        beside=beside,
        cache=store.cache,
        weights=ASSETS.weights(spec, trial.places),
        guide=trial.spec.sample.autoguidance,
        passes=trial.passes,
        ranks=ranks,
    )


def trained_guide(
    ranks: Ranks,
    trial: Trial,
    store: Store,
    device: str,
    keep_state: bool,
    *,
    progress: Progress = lambda seen, loss: None,
) -> Path:
    """Trains the network that guides a trial's samples, at constant rate; the snapshot's path."""
    spec, images = trial.spec.train, trial.spec.sample.autoguidance
    assert images is not None
    trunk = spec.trunk or spec
    return train(
        trunk,
        images,
        ASSETS.encoded(spec, trial.places, store.cache),
        store.training(trunk.key),
        snapshot_every=images,
        keep_state=keep_state,
        device=device,
        progress=progress,
        cache=store.cache,
        weights=ASSETS.weights(spec, trial.places),
        passes=trial.passes,
        ranks=ranks,
    )


def features(
    ranks: Ranks,
    extractors: Sequence[str],
    cache: Path,
    device: str,
    *,
    images: np.ndarray | None = None,  # (n, C, H, W) uint8, of the leader
) -> dict[str, Features]:
    """Features of images by extractor, those of a part of the images from each rank.

    The leader's are complete. An image has the features that it has in one process. What an
    extractor raises is raised as a CabenchError on every rank, a fault of the machine as it is.
    """
    part = ranks.rows_of_leader(None if images is None else torch.from_numpy(images)).numpy()
    own, error = dict[str, Features](), None
    try:
        if len(part):  # an extractor need not take 0 images
            part = on_white(part)
            own = {name: _of_part(name, cache, device, part) for name in extractors}
    except Exception as raised:
        if is_machine_fault(raised):
            raise
        error = raised if isinstance(raised, CabenchError) else CabenchError(describe(raised))
    if ranks.any(error is not None):  # before the others wait for this rank's features
        if error is not None:
            raise error
        return {}
    gathered = [one for one in ranks.gather(own) if one]
    return {
        name: {layer: np.concatenate([one[name][layer] for one in gathered]) for layer in layers}
        for name, layers in (gathered[0] if gathered else {}).items()
    }


def _of_part(name: str, cache: Path, device: str, images: np.ndarray) -> Features:
    features = ASSETS.extractor(name, cache, device).features(images)
    return {layer: np.asarray(values) for layer, values in features.items()}


def drawn(
    ranks: Ranks,
    trial: Trial,
    store: Store,
    device: str,
    snapshot: Path,  # of the averaged network
    guide: Path | None,  # of the network that guides, or None
    guidance: float,
    split: str,
    rows: Tensor,  # (n,) of the split: whose streams the samples are conditioned on
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Samples (n, C, H, W) uint8; the leader's are complete."""
    train, sampling = trial.spec.train, trial.spec.sample
    dataset = ASSETS.encoded(train, trial.places, store.cache)
    real = Data(dataset.split(split), train.model.embedder.streams)

    def network(path: Path) -> Network:
        model = load_ema(train.model, path, device)
        if sampling.compiled is None and sampling.graphed is None:
            return model
        kind = CompiledNetwork if sampling.graphed is None else graphs.GraphedNetwork
        return kind(model, train.model, len(rows), sampling.batch, store.cache)

    with nullcontext() if sampling.graphed is None else graphs.own_memory(store.cache):
        return sample(
            network(snapshot),
            Process(train.diffusion.prediction, train.diffusion.schedule),
            lambda index: real.streams_at(rows[index]),
            len(rows),
            train.model.backbone.shape,
            seed=train.seed,
            sampler=sampling.sampler,
            steps=sampling.steps,
            guidance=guidance,
            interval=sampling.guidance_interval,
            weak=None if guide is None else network(guide),
            batch=sampling.batch,
            device=device,
            progress=progress,
            decode=ASSETS.decoder(dataset, device),
            ranks=ranks,
        )
