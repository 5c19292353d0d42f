"""What the trials of one process share: data sets, scorers, a CLIP, a VAE decoder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from cabench.data import Dataset, load_dataset
from cabench.data.dataset import UNSEEN
from cabench.data.resampling import resampled
from cabench.data.texts import with_text_features
from cabench.data.vae import VAE
from cabench.diffusion.initial import Tensors, read_weights
from cabench.metrics.clip import Clip
from cabench.metrics.extractors import FeatureExtractor, opened
from cabench.metrics.scorer import REFERENCE, SampleScorer
from cabench.planning.trials import Places
from cabench.records.spec import ClipSpec, DataSpec, TrainSpec, TrialSpec
from cabench.runtime.cache import cache_at
from cabench.runtime.files import content_key, file_hash
from cabench.runtime.images import to_uint8
from cabench.text import encoder

Value = TypeVar("Value")
Decoder = Callable[[torch.Tensor], torch.Tensor]  # network output -> (B, C, H, W) uint8


class Assets:
    """Loads each asset once and keeps the most recent ones. A changed file raises OSError."""

    def __init__(self) -> None:
        self._datasets: dict[Hashable, Dataset] = {}
        self._draws: dict[Hashable, Dataset] = {}
        self._scorers: dict[Hashable, SampleScorer] = {}
        self._extractors: dict[Hashable, FeatureExtractor] = {}
        self._clips: dict[Hashable, Clip] = {}
        self._decoders: dict[Hashable, VAE] = {}
        self._weights: dict[Hashable, Tensors] = {}

    def clear(self) -> None:
        for assets in vars(self).values():
            assets.clear()

    def dataset(self, spec: DataSpec, options: dict[str, Any]) -> Dataset:
        """The data of a trial, without text features."""
        if (draw := spec.resample) is not None:
            whole = self.dataset(spec.model_copy(update={"resample": None}), options)
            key = (spec, content_key(options))
            return _keep(self._draws, key, 2, lambda: resampled(whole, draw.seed))

        def load() -> Dataset:
            dataset = load_dataset(spec.source, **options)
            if dataset.fingerprint != spec.fingerprint:
                raise _changed(f"data '{spec.source}'")
            return dataset

        return _keep(self._datasets, (spec, content_key(options)), 2, load)

    def encoded(self, spec: TrainSpec, places: Places, cache: Path) -> Dataset:
        """The data of a trial, with the text features that the model is conditioned on."""
        text = spec.text
        if text is None:
            with cache_at(cache):
                return self.dataset(spec.data, places.data)

        def encode() -> Dataset:
            network = encoder(text.encoder, places.text)
            if network.fingerprint != text.fingerprint:
                raise _changed(f"text encoder '{text.encoder}'")
            with cache_at(cache):
                dataset = self.dataset(spec.data, places.data)
            return with_text_features(dataset, network, text.tokens, cache)

        key = (spec.data, text, content_key(places.data, places.text), cache)
        return _keep(self._datasets, key, 2, encode)

    def clip(self, spec: ClipSpec, path: str) -> Clip:
        """The CLIP of a trial's metric clip_score."""

        def load() -> Clip:
            clip = Clip(path, spec.template)
            if clip.fingerprint != spec.fingerprint:
                raise _changed(f"the CLIP in {path}")
            return clip

        return _keep(self._clips, (spec, path), 1, load)

    def scorers(
        self,
        spec: TrialSpec,
        dataset: Dataset,
        metrics: Iterable[str],
        cache: Path,
        clip: Clip | None = None,
        device: str = "cpu",
    ) -> list[SampleScorer]:
        """One scorer per split that samples are conditioned on: report, and unseen if used."""
        sizes = {REFERENCE: spec.sample.n}
        if spec.score.unseen is not None:
            sizes[UNSEEN] = spec.score.unseen
        metrics = tuple(metrics)

        def make(split: str, n: int) -> SampleScorer:
            return SampleScorer(
                dataset,
                n,
                cache,
                metrics=metrics,
                reference=split,
                clip=clip,
                device=device,
                extractor=partial(self.extractor, cache=cache, device=device),
            )

        shared = (dataset.name, dataset.fingerprint, metrics, cache, clip, device)
        return [
            _keep(self._scorers, (*shared, split, n), 4, lambda split=split, n=n: make(split, n))
            for split, n in sizes.items()
        ]

    def extractor(self, name: str, cache: Path, device: str) -> FeatureExtractor:
        """A feature extractor, on this process's GPU where `device` is one."""
        return _keep(
            self._extractors, (name, cache, device), 8, lambda: opened(name, cache, device)
        )

    def weights(self, spec: TrainSpec, places: Places) -> Tensors | None:
        """The weights that a training starts from, if it starts from any."""
        if spec.init_from is None:
            return None
        path = Path(str(places.init_from))

        def read() -> Tensors:
            if file_hash(path) != spec.init_from:
                raise _changed(str(path))
            return read_weights(path)

        return _keep(self._weights, (spec.init_from, path), 1, read)

    def decoder(self, dataset: Dataset, device: str) -> Decoder:
        """From the network's output to images: the VAE of latents, else a rescaling."""
        if dataset.vae is None:
            return to_uint8
        vae = dataset.vae
        return _keep(self._decoders, (device, vae), 1, lambda: VAE.of(vae, device)).decode


ASSETS = Assets()  # of this process


def _keep(
    kept: dict[Hashable, Value], key: Hashable, most: int, make: Callable[[], Value]
) -> Value:
    """The value under `key`, made if absent; the oldest values go when there are `most`."""
    if key not in kept:
        value = make()
        while len(kept) >= most:
            del kept[next(iter(kept))]
        kept[key] = value
    return kept[key]


def _changed(what: str) -> OSError:
    return OSError(errno.EIO, f"{what} changed since the study was read")
