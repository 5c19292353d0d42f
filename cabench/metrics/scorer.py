"""Scores of generated samples on one data set: reference, floor and probe, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cabench.data.dataset import Dataset
from cabench.errors import CabenchError
from cabench.metrics import fidelity, neighbours, regression
from cabench.metrics import probe as probes
from cabench.metrics.base import Metric, extractor_of, note_of
from cabench.metrics.clip import TEMPLATE, Clip, wording
from cabench.metrics.extractors import DEFAULT, FeatureExtractor, Features, lite0, opened
from cabench.metrics.extractors.base import CHANNELS, on_white
from cabench.metrics.feature_files import features_path, fingerprint_on, short_hash
from cabench.metrics.neighbours import Neighbours, compare, nearest
from cabench.metrics.reference import FLOOR, REFERENCE, TRAINED, matched, report_labels
from cabench.registry import METRICS
from cabench.runtime.sealed import cached_arrays, is_being_written
from cabench.text import STREAM, first

METRIC_NAMES = ("kid", "fid_lite0_112", "condition_accuracy")
OPTIONAL = ("judges", "notes", "judge_runs_on", "clip")  # parts of `protocol` some scorers lack


class SampleMetric(Metric, Protocol):
    """A score of generated samples: `needs = "samples"`."""

    min_samples: int  # fewer are refused

    def compute(
        self,
        generated: Features,  # {layer: (n, D)} of the samples, from the metric's extractor
        reference: Features,  # of n real images with the same labels
        images: np.ndarray,  # (n, C, H, W) uint8: the samples
        labels: np.ndarray,  # (n,) int64: the labels they are conditioned on
        scorer: SampleScorer,  # data set, probes, prompts
    ) -> float: ...


class SampleScorer:
    """Compares n samples with n real images of the report split that have the same labels.

    Constructing one is cheap and refuses what cannot be scored. The feature extractors run at the
    first `score`, `floor` or `prepare`. Features of real images and the probe are cached on disk
    for parallel workers: the first one computes them, the others wait.
    """

    def __init__(
        self,
        dataset: Dataset,
        n: int,  # samples to generate and score
        cache: Path,  # extractors, features, probes: <cache>/judge/
        threads: int = 1,  # of the extractors, without effect on the numbers
        metrics: Sequence[str] = METRIC_NAMES,  # registered metrics that need samples
        stream: str = "label",  # the stream of condition_accuracy
        reference: str = REFERENCE,  # the split that samples take their conditions from
        clip: Clip | None = None,  # of metric clip_score
        labels: np.ndarray | None = None,  # (n,) of given samples; default: the split's, in shares
        device: str = "cpu",  # of the extractors that can run on a GPU
        extractor: Callable[[str], FeatureExtractor] | None = None,  # by name; None: opens its own
    ):
        if dataset.shape[0] not in CHANNELS:
            raise CabenchError(
                f"data set '{dataset.name}': expected images of 1, 3 or 4 channels (4: with "
                f"opacity), which metrics can take, got {dataset.shape[0]}"
            )
        self.dataset, self.n, self.stream, self.reference = dataset, n, stream, reference
        self.cache, self.clip = Path(cache), clip
        self.metrics: dict[str, SampleMetric] = {name: METRICS.get(name) for name in metrics}
        self.on_gpu = device.startswith("cuda")
        names = [extractor_of(metric) for metric in self.metrics.values()]
        open_own = partial(opened, cache=self.cache, device=device, threads=threads)
        self.extractors: dict[str, FeatureExtractor] = {
            name: (extractor or open_own)(name)
            for name in dict.fromkeys((DEFAULT, *names))  # the default one is for the probe
        }
        for name, metric in self.metrics.items():
            check: Callable[[Dataset], None] | None = getattr(metric, "check", None)
            if check:
                check(dataset)
            if n < metric.min_samples:
                raise CabenchError(
                    f"{name}: expected at least {metric.min_samples} samples, got {n}"
                )
        # (n,) int64: what to generate
        self.labels = report_labels(self._labels(reference) if labels is None else labels, n)
        self.chosen = {  # split -> (n,) indices of its real images in use
            split: matched(self._labels(split), self.labels, f"split '{split}'")
            for split in (reference, FLOOR)
        }
        self._folder = self.cache / "judge"
        self._reference_features: dict[str, Features] = {}  # by extractor
        self._last: tuple[np.ndarray | None, dict[str, Features]] = None, {}  # by extractor

    # ---- conditions of the samples --------------------------------------------------------------

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) rows of the reference split whose conditions the samples take, in labels' order."""
        rows = np.empty(self.n, np.int64)
        rows[np.argsort(self.labels, kind="stable")] = self.chosen[self.reference]  # label by label
        return rows

    @cached_property
    def conditions(self) -> dict[str, np.ndarray]:
        """Each sample's condition inputs, {stream: (n,)}, in labels' order."""
        streams = self.dataset.split(self.reference).streams
        return {name: values[self.rows] for name, values in streams.items()}

    @cached_property
    def vectors(self) -> dict[str, np.ndarray]:
        """Each sample's numbers, {stream: (n, D)}, in labels' order."""
        vectors = self.dataset.split(self.reference).vectors
        return {name: values[self.rows] for name, values in vectors.items()}

    def maps(self, stream: str, samples: slice | np.ndarray) -> np.ndarray:
        """The maps of some samples, (b, C, H, W) uint8, in labels' order; all fill gigabytes."""
        return self.dataset.split(self.reference).maps[stream][self.rows[samples]]

    @cached_property
    def prompts(self) -> list[str]:
        """The text of each sample, in labels' order; of several captions the first."""
        texts = self.dataset.split(self.reference).texts
        if STREAM not in texts:
            raise CabenchError(f"data set '{self.dataset.name}' has no texts")
        captions = first(texts[STREAM])
        return [captions[row] for row in self.rows]

    @property
    def clip_template(self) -> str | None:
        """The template that turns class names into CLIP's prompts; None: use the data's texts."""
        assert self.clip is not None
        has_text = STREAM in self.dataset.split(self.reference).texts
        return self.clip.template or (None if has_text else TEMPLATE)

    @cached_property
    def clip_prompts(self) -> list[str]:
        """CLIP's prompt for each sample, in labels' order."""
        if self.clip_template is None:
            return self.prompts
        return wording(self.clip_template, self.dataset.classes[self.stream], self.labels)

    def require_order(self, labels: np.ndarray) -> None:
        """Refuses samples that are not in labels' order: their other conditions are unknown."""
        if not np.array_equal(labels, self.labels):
            raise CabenchError(
                "expected samples in the order of scorer.labels, got another: "
                "their further conditions are unknown"
            )

    # ---- scores ---------------------------------------------------------------------------------

    def score(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Every metric of samples (n, C, H, W) uint8 conditioned on labels (n,), in any order."""
        if images.shape != (self.n, *self.dataset.shape):
            raise ValueError(f"samples are {images.shape}, not {(self.n, *self.dataset.shape)}")
        if not np.array_equal(np.sort(labels), np.sort(self.labels)):
            raise ValueError("the samples' labels are not the ones in scorer.labels")
        return {
            name: float(
                metric.compute(
                    self.features(images, extractor_of(metric)),
                    self.reference_features(extractor_of(metric)),
                    images,
                    labels,
                    self,
                )
            )
            for name, metric in self.metrics.items()
        }

    def floor(self) -> dict[str, float]:
        """The same metrics of n disjoint real images with the same labels."""
        return dict(self._floor)

    @cached_property
    def _floor(self) -> dict[str, float]:
        chosen = self.chosen[FLOOR]
        images, labels = self.dataset.split(FLOOR).images[chosen], self._labels(FLOOR)[chosen]
        scores = {}
        for name, metric in self.metrics.items():
            floor: Callable[[SampleScorer], float] | None = getattr(metric, "floor", None)
            if floor:
                scores[name] = float(floor(self))
                continue
            extractor = extractor_of(metric)
            real, reference = self.floor_features(extractor), self.reference_features(extractor)
            scores[name] = float(metric.compute(real, reference, images, labels, self))
        return scores

    def prepare(self) -> None:
        """Fills the cache, so that workers only read it. Several processes share the work."""
        absent = {p: make for p, make in self.files().items() if not p.exists()}
        while absent:
            path = next((p for p in absent if not is_being_written(p)), next(iter(absent)))
            absent.pop(path)()
        _ = self.reference_features(), self._floor, self._real_distances
        if len(np.unique(self._labels(FLOOR))) > 1:  # COCO's images have no class
            _ = self.probe

    def files(self) -> dict[Path, Callable[[], object]]:
        """The cached files that take longest, and what writes them."""
        files: dict[Path, Callable[[], object]] = {
            self._path(split, extractor): partial(self._features, split, extractor)
            for extractor in self.extractors
            for split in (self.reference, FLOOR)
        }
        for metric in self.metrics.values():
            of_metric = getattr(metric, "files", None)
            files |= of_metric(self) if of_metric else {}
        return files | {self._trained_path: lambda: self._trained}

    # ---- features -------------------------------------------------------------------------------

    def keep(self, images: np.ndarray, features: dict[str, Features]) -> None:
        """Takes the features of these images, by extractor, which several processes computed."""
        self._last = images, features

    def features(self, images: np.ndarray, extractor: str = DEFAULT) -> Features:
        """An extractor's features of images; those of the last images are kept in memory."""
        if self._last[0] is not images:
            self._last = images, {}
        by_extractor = self._last[1]
        if extractor not in by_extractor:
            by_extractor[extractor] = self.extractors[extractor].features(on_white(images))
        return by_extractor[extractor]

    def reference_features(self, extractor: str = DEFAULT) -> Features:
        """Features of the n real images that samples are compared with."""
        if extractor not in self._reference_features:
            self._reference_features[extractor] = self._subset(self.reference, extractor)
        return self._reference_features[extractor]

    @property
    def reference_labels(self) -> np.ndarray:
        """(n,) labels of those real images, in their order."""
        return self._labels(self.reference)[self.chosen[self.reference]]

    @cached_property
    def paired_features(self) -> Features:
        """Features of the real image that each sample's conditions are from, in labels' order."""
        return {k: f[self.rows] for k, f in self._features(self.reference).items()}

    def floor_features(self, extractor: str = DEFAULT) -> Features:
        """Features of the n disjoint real images that `floor` scores."""
        return self._subset(FLOOR, extractor)

    def _subset(self, split: str, extractor: str) -> Features:
        features = self._features(split, extractor)
        return {layer: values[self.chosen[split]] for layer, values in features.items()}

    def _features(self, split: str, extractor: str = DEFAULT) -> Features:
        """An extractor's features of a whole split, from the cache."""
        network = self.extractors[extractor]
        return cached_arrays(
            self._path(split, extractor),
            lambda: network.features(on_white(self.dataset.split(split).images)),
        )

    def _path(self, split: str, extractor: str) -> Path:
        return features_path(self.cache, self.dataset, self._fingerprint(extractor), split)

    def _fingerprint(self, extractor: str = DEFAULT) -> str:
        return fingerprint_on(self.extractors[extractor], self.on_gpu)

    # ---- copies of training images --------------------------------------------------------------

    def neighbours(self, features: np.ndarray) -> Neighbours:
        """How near samples (n, 1280) are to training images, compared with new real images."""
        distance, index = nearest(features, self._trained)
        return compare(distance, index, self._real_distances, of=len(self._trained))

    @cached_property
    def _trained(self) -> np.ndarray:
        """(m, 1280) features of the first MOST training images."""
        split = self.dataset.split(TRAINED)
        first_images = split.images[: neighbours.MOST]
        return cached_arrays(
            self._trained_path,
            lambda: {"1280": self.extractors[DEFAULT].features(on_white(first_images))["1280"]},
        )["1280"]

    @property
    def _trained_path(self) -> Path:
        key = short_hash(self.dataset.fingerprint, self._fingerprint(), neighbours.MOST)
        return self._folder / f"features-{key}-{TRAINED}.npz"

    @cached_property
    def _real_distances(self) -> np.ndarray:
        """(n,) distances of the reference images to their nearest training images."""
        return nearest(self.reference_features()["1280"], self._trained)[0]

    # ---- probes ---------------------------------------------------------------------------------

    @cached_property
    def probe(self) -> probes.Probe:
        """The linear probe of `stream`, trained on judge-train and tested on report."""
        return self.probe_of(self.stream)

    def probe_of(self, stream: str) -> probes.Probe:
        """The linear probe of another stream of labels, from the cache."""
        labels = partial(self._labels, stream=stream)
        return probes.Probe.load(self._fitted("probe", probes, stream, labels))

    def regression_of(self, stream: str) -> regression.Regression:
        """The regression of a stream of numbers, from the cache."""

        def vectors(split: str) -> np.ndarray:
            return self.dataset.split(split).vectors[stream]

        return regression.Regression.load(self._fitted("regression", regression, stream, vectors))

    def _fitted(
        self, name: str, kind: Any, stream: str, values: Callable[[str], np.ndarray]
    ) -> dict[str, np.ndarray]:
        """A probe or regression as arrays: fitted to judge-train, tested on the reference split."""
        split = [] if self.reference == REFERENCE else [self.reference]
        parts = (self._fingerprint(), stream, kind.VERSION, *split)
        key = short_hash(self.dataset.fingerprint, *parts)

        def fit() -> dict[str, np.ndarray]:
            splits = FLOOR, self.reference
            pairs = [x for split in splits for x in (self._features(split), values(split))]
            return kind.fit(*pairs).arrays()

        return cached_arrays(self._folder / f"{name}-{key}.npz", fit)

    def _labels(self, split: str, stream: str | None = None) -> np.ndarray:
        streams, stream = self.dataset.split(split).streams, stream or self.stream
        if stream not in streams:
            raise CabenchError(
                f"scoring by '{stream}': the data set's streams are {', '.join(streams)}"
            )
        return streams[stream]

    # ---- protocol -------------------------------------------------------------------------------

    @property
    def protocol(self) -> dict[str, Any]:
        """How the numbers come about, as JSON for the record; runs no extractor."""
        protocol: dict[str, Any] = {
            "n": self.n,
            "metrics": {name: metric.version for name, metric in self.metrics.items()},
            "judge": lite0.NAME,
            "judge_fingerprint": self.extractors[DEFAULT].fingerprint_of(),
            "judge_resize": f"{lite0.SIZE} px, antialiased bilinear",
        }
        others = [name for name in self.extractors if name != DEFAULT]
        if others:
            protocol["judges"] = {name: self.extractors[name].fingerprint_of() for name in others}
        protocol |= {
            "reference": {"split": self.reference, "labels": "as generated"},
            "floor": {"split": FLOOR, "labels": "as generated"},
            "kid": {"features": "1280", **fidelity.KID, "kid_subset_size": self.n},
            "fid": {"features": "112"},
            "probe": {
                "kind": "logistic regression",
                "features": list(probes.FEATURES),
                "penalty": probes.PENALTY,
                "version": probes.VERSION,
                "trained_on": FLOOR,
                "tested_on": self.reference,
                "stream": self.stream,
            },
        }
        notes = {name: note_of(metric) for name, metric in self.metrics.items()}
        if any(note is not None for note in notes.values()):
            protocol["notes"] = {name: note for name, note in notes.items() if note is not None}
        if self.on_gpu:
            protocol["judge_runs_on"] = "a GPU, in torch"
        if self.clip is not None:
            protocol["clip"] = {
                "path": self.clip.path,
                "weights": self.clip.fingerprint,
                "prompts": self.clip_template or "the data's texts",
            }
        return protocol
