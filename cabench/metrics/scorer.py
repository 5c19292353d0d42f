"""Scores of generated samples on one data set: reference, floor and probe, prepared once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cabench.errors import CabenchError
from cabench.metrics import fidelity, neighbours
from cabench.metrics import probe as probes
from cabench.metrics.clip import TEMPLATE, wording
from cabench.metrics.extractors import lite0
from cabench.metrics.extractors.named import DEFAULT, extractor_of
from cabench.metrics.reference import matched, report_labels
from cabench.registry import EXTRACTORS, METRICS
from cabench.runtime.sealed import cached_arrays
from cabench.text import STREAM, first

REFERENCE, FLOOR, TRAINED = "report", "judge-train", "generator-train"
METRIC_NAMES = ("kid", "fid_lite0_112", "condition_accuracy")


class SampleScorer:
    """n samples against n real pictures of the report split that have the same labels.

    Constructing one is cheap and refuses what cannot be scored. The feature extractor runs at the
    first `score`, `floor` or `prepare`; features of real images and the probe are cached on disk
    for parallel workers (the first one computes them, the others wait).
    """

    def __init__(
        self,
        dataset: Any,  # cabench.data.Dataset, or what looks like one
        n: int,  # samples to generate and score
        cache: Path,  # extractors, features, probes: <cache>/judge/
        threads: int = 1,  # of the extractor; the numbers don't depend on it
        metrics: Sequence[str] = METRIC_NAMES,  # registered metrics that need samples
        stream: str = "label",  # the condition that accuracy is about
        reference: str = REFERENCE,  # the split whose conditions samples are told
        clip: Any = None,  # metrics.clip.Clip, of metric clip_score
    ):
        self.dataset, self.n, self.stream, self.reference = dataset, n, stream, reference
        self.cache, self.clip = Path(cache), clip
        self.extractor = lite0.Lite0(cache, threads)
        self.metrics = {name: METRICS.get(name) for name in metrics}
        others = dict.fromkeys(extractor_of(metric) for metric in self.metrics.values())
        self.extractors = {
            DEFAULT: self.extractor
        } | {  # by name: the default, and what metrics name
            name: EXTRACTORS.get(name)(Path(cache), threads) for name in others if name != DEFAULT
        }
        for name, metric in self.metrics.items():
            if hasattr(metric, "check"):
                metric.check(dataset)
            if n < metric.min_samples:
                raise CabenchError(
                    f"{name}: {n} samples are too few, at least {metric.min_samples} are needed"
                )
        self.labels = report_labels(self._labels(reference), n)  # (n,) int64: what to generate
        self.chosen = {  # split -> (n,) indices of the real pictures in use
            split: matched(self._labels(split), self.labels, f"split '{split}'")
            for split in (reference, FLOOR)
        }
        self._folder = self.cache / "judge"
        self._real: dict[str, dict[str, np.ndarray]] = {}  # by extractor: of the reference
        self._last: tuple[Any, dict] = None, {}  # pictures, their features by extractor

    @cached_property
    def rows(self) -> np.ndarray:
        """(n,) the picture of the reference split whose conditions each sample is told."""
        rows = np.empty(self.n, np.int64)
        rows[np.argsort(self.labels, kind="stable")] = self.chosen[self.reference]  # label by label
        return rows

    @cached_property
    def conditions(self) -> dict[str, np.ndarray]:
        """What each sample is told, by stream (n,), in labels' order."""
        streams = self.dataset.split(self.reference).streams
        return {name: values[self.rows] for name, values in streams.items()}

    @cached_property
    def prompts(self) -> list[str]:
        """The text of each sample, in labels' order; of several captions the first."""
        texts = self.dataset.split(self.reference).texts
        if STREAM not in texts:
            raise CabenchError(f"data set '{self.dataset.name}' has no texts")
        found = first(texts[STREAM])
        return [found[row] for row in self.rows]

    def score(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Every metric of samples (n, C, H, W) uint8 made for `labels` (n,), in any order."""
        if images.shape != (self.n, *self.dataset.shape):
            raise ValueError(f"samples are {images.shape}, not {(self.n, *self.dataset.shape)}")
        if not np.array_equal(np.sort(labels), np.sort(self.labels)):
            raise ValueError("the samples' labels are not the ones in scorer.labels")
        return {
            name: float(
                metric.compute(
                    self.features(images, extractor_of(metric)),
                    self.compared(extractor_of(metric)),
                    images,
                    labels,
                    self,
                )
            )
            for name, metric in self.metrics.items()
        }

    def features(self, images: np.ndarray, name: str = DEFAULT) -> dict[str, np.ndarray]:
        """An extractor's features of pictures; those of the last pictures are kept."""
        if self._last[0] is not images:
            self._last = images, {}
        found = self._last[1]
        if name not in found:
            found[name] = self.extractors[name].features(images)
        return found[name]

    def neighbours(self, features: np.ndarray) -> dict[str, Any]:
        """How near samples (n, 1280) come to training pictures, beside how near new real ones do.

        `memorised`: share nearer than QUANTILE of the report's pictures in use are; `ratio`: median
        distance over theirs; `distance`, `index` (n,): to the nearest of the `of` first pictures.
        """
        distance, index = neighbours.nearest(features, self._trained)
        usual = self._usual
        near = np.quantile(usual, neighbours.QUANTILE)
        return {
            "memorised": float((distance < near).mean()),
            "ratio": float(np.median(distance) / np.median(usual)),
            "of": len(self._trained),
            "distance": distance,
            "index": index,
        }

    @cached_property
    def _trained(self) -> np.ndarray:
        """(m, 1280) of the first training pictures."""
        split = self.dataset.split(TRAINED)
        part = slice(0, neighbours.MOST)
        key = _short(self.dataset.fingerprint, self.extractor.fingerprint, neighbours.MOST)
        return cached_arrays(
            self._folder / f"features-{key}-{TRAINED}.npz",
            lambda: {"1280": self.extractor.features(split.images[part])["1280"]},
        )["1280"]

    @cached_property
    def _usual(self) -> np.ndarray:
        """Distances of the real pictures in use to the nearest training picture, (n,)."""
        return neighbours.nearest(self.compared()["1280"], self._trained)[0]

    @property
    def reference_labels(self) -> np.ndarray:
        """(n,) of the real pictures in use, in their order."""
        return self._labels(self.reference)[self.chosen[self.reference]]

    @property
    def clip_template(self) -> str | None:
        """How class names become CLIP's prompts; None: they are the data's texts."""
        has_text = STREAM in self.dataset.split(self.reference).texts
        return self.clip.template or (None if has_text else TEMPLATE)

    @cached_property
    def clip_prompts(self) -> list[str]:
        if self.clip_template is None:
            return self.prompts
        return wording(self.clip_template, self.dataset.classes[self.stream], self.labels)

    def told_to(self, labels: np.ndarray) -> None:
        """Refuses samples in another order: their other conditions would not be known."""
        if not np.array_equal(labels, self.labels):
            raise CabenchError(
                "the samples are not in scorer.labels' order: what else they were told is unknown"
            )

    def floor(self) -> dict[str, float]:
        """The same metrics of n other real pictures with the same labels; accuracy: on report."""
        return dict(self._floor)

    def prepare(self) -> None:
        """Fill the cache, so that workers only read it."""
        _ = self.compared(), self._floor, self._usual
        if len(np.unique(self._labels(FLOOR))) > 1:  # COCO's pictures have no class
            _ = self.probe

    @property
    def protocol(self) -> dict[str, Any]:
        """How the numbers were made, for the record: JSON, known without running an extractor."""
        return {
            "n": self.n,
            "metrics": {name: metric.version for name, metric in self.metrics.items()},
            "judge": lite0.NAME,
            "judge_fingerprint": self.extractor.fingerprint,
            "judge_resize": f"{lite0.SIZE} px, antialiased bilinear",
            **(
                {"judges": {n: e.fingerprint for n, e in self.extractors.items() if n != DEFAULT}}
                if len(self.extractors) > 1
                else {}
            ),
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
            **({"notes": notes} if (notes := self._notes()) else {}),
            **({"clip": self._clip} if self.clip else {}),
        }

    @property
    def _clip(self) -> dict[str, Any]:
        return {
            "path": self.clip.path,
            "weights": self.clip.fingerprint,
            "prompts": self.clip_template or "the data's texts",
        }

    def _notes(self) -> dict[str, str]:
        return {name: m.note() for name, m in self.metrics.items() if hasattr(m, "note")}

    @cached_property
    def probe(self) -> probes.Probe:
        """The probe of this data set, trained on judge-train, tested on report."""
        return self.probe_of(self.stream)

    def probe_of(self, stream: str) -> probes.Probe:
        """As `probe`, of another stream."""
        elsewhere = [] if self.reference == REFERENCE else [self.reference]
        key = _short(
            self.dataset.fingerprint, self.extractor.fingerprint, stream, probes.VERSION, *elsewhere
        )

        def fit() -> dict[str, np.ndarray]:
            return probes.fit(
                self._features(FLOOR),
                self._labels(FLOOR, stream),
                self._features(self.reference),
                self._labels(self.reference, stream),
            ).arrays()

        return probes.Probe.load(cached_arrays(self._folder / f"probe-{key}.npz", fit))

    @cached_property
    def real(self) -> dict[str, np.ndarray]:
        """Features of the real images that the samples' conditions are from, in order."""
        return {k: f[self.rows] for k, f in self._features(self.reference).items()}

    def compared(self, name: str = DEFAULT) -> dict[str, np.ndarray]:
        """An extractor's features of the real pictures that samples are compared with."""
        if name not in self._real:
            self._real[name] = self._subset(self.reference, name)
        return self._real[name]

    @cached_property
    def _floor(self) -> dict[str, float]:
        chosen = self.chosen[FLOOR]
        images, labels = self.dataset.split(FLOOR).images[chosen], self._labels(FLOOR)[chosen]
        return {
            name: float(
                metric.floor(self)
                if hasattr(metric, "floor")
                else metric.compute(
                    self._subset(FLOOR, extractor_of(metric)),
                    self.compared(extractor_of(metric)),
                    images,
                    labels,
                    self,
                )
            )
            for name, metric in self.metrics.items()
        }

    def _labels(self, split: str, stream: str | None = None) -> np.ndarray:
        streams, stream = self.dataset.split(split).streams, stream or self.stream
        if stream not in streams:
            raise CabenchError(
                f"scoring by '{stream}': the data set's streams are {', '.join(streams)}"
            )
        return streams[stream]

    def _subset(self, split: str, name: str = DEFAULT) -> dict[str, np.ndarray]:
        return {layer: f[self.chosen[split]] for layer, f in self._features(split, name).items()}

    def _features(self, split: str, name: str = DEFAULT) -> dict[str, np.ndarray]:
        """An extractor's features of a whole split, from the cache."""
        network = self.extractors[name]
        key = _short(self.dataset.fingerprint, network.fingerprint)
        return cached_arrays(
            self._folder / f"features-{key}-{split}.npz",
            lambda: network.features(self.dataset.split(split).images),
        )


def _short(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
