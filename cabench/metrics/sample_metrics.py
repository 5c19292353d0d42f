"""Metrics of samples beyond FID and KID: conditions, prompts, copies. Imports nothing heavy."""

from __future__ import annotations

import numpy as np

from cabench.data.dataset import Dataset
from cabench.data.texts import distinct_texts
from cabench.errors import CabenchError
from cabench.metrics import image_text, neighbours
from cabench.metrics.clip import Clip
from cabench.metrics.extractors import Features
from cabench.metrics.fidelity import KID_MIN, kid
from cabench.metrics.scorer import SampleScorer
from cabench.registry import METRICS

CLASS_MIN = 10  # samples of a class; smaller classes are left out


@METRICS.register("condition_accuracy")
class ConditionAccuracy:
    """Share of samples that a probe trained on real images assigns to their label; in [0, 1].

    Higher is better. The probe is linear, on EfficientNet-Lite0's features (metrics/probe.py).
    """

    version = 1
    needs = "samples"
    libraries = ("sklearn",)
    higher_is_better = True
    label = "condition accuracy"
    twin = "accuracy_trained"
    min_samples = 1

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        return scorer.probe.accuracy(generated, labels)

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """Accuracy on the report split: the probe is trained on judge-train, the usual floor."""
        return scorer.probe.accuracy_on_report


@METRICS.register("kid_classwise")
class KidClasswise:
    """Mean over classes of the KID within a class; lower is better, may fall below 0.

    Unlike KID it penalises realistic samples of the wrong class. Unbiased, as KID is, but noisy
    with few samples per class. Classes with fewer than 10 samples are left out; at least 100
    samples in total.
    """

    version = 1
    needs = "samples"
    libraries = ("torch_fidelity",)
    higher_is_better = False
    label = "class-wise KID-lite0@{n}"
    min_samples = KID_MIN

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        real = scorer.reference_labels
        values = [
            kid(generated["1280"][labels == c], reference["1280"][real == c], CLASS_MIN)
            for c, count in zip(*np.unique(real, return_counts=True), strict=True)
            if count >= CLASS_MIN
        ]
        if not values:
            raise CabenchError(
                f"kid_classwise: expected a class with at least {CLASS_MIN} of the {len(labels)} "
                "samples, got none"
            )
        return float(np.mean(values))


@METRICS.register("memorised")
class Memorised:
    """Share of samples nearer to a training image than 99 % of new real images; lower is better.

    In [0, 1]; about 0.01 for new images. Compares with the first 10,000 training images only, by
    Euclidean distance of EfficientNet-Lite0's features: copies of later ones are not detected.
    """

    version = neighbours.VERSION
    needs = "samples"
    conditions = ()
    higher_is_better = False
    label = "memorised@{n}"
    min_samples = 1

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        return scorer.neighbours(generated["1280"]).memorised


@METRICS.register("style_accuracy")
class StyleAccuracy:
    """Share of samples that a probe assigns to their style; in [0, 1], higher is better."""

    version = 1
    needs = "samples"
    libraries = ("sklearn",)
    conditions = ("style",)
    higher_is_better = True
    label = "style accuracy"
    min_samples = 1

    @staticmethod
    def check(dataset: Dataset) -> None:
        if "style" not in dataset.classes:
            raise CabenchError(f"style_accuracy: data set '{dataset.name}' has no stream 'style'")

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        return scorer.probe_of("style").accuracy(generated, scorer.conditions["style"])

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """Accuracy on the real images that the samples' conditions are from."""
        return scorer.probe_of("style").accuracy_on_report


@METRICS.register("condition_error")
class ConditionError:
    """How far samples are from the numbers that they are conditioned on; lower is better.

    A ridge regression trained on real images reads the numbers from each sample
    (metrics/regression.py): root mean square of the difference, in standard deviations over real
    images, over the numbers of all streams. 1 if the samples are all average ones.
    """

    version = 1
    needs = "samples"
    libraries = ("sklearn",)
    conditions = ("numbers",)
    higher_is_better = False
    label = "condition error@{n}"
    min_samples = 1

    @staticmethod
    def check(dataset: Dataset) -> None:
        if not dataset.vectors:
            text = f"data set '{dataset.name}' has no stream of numbers"
            raise CabenchError(f"condition_error: {text}")

    @classmethod
    def compute(
        cls,
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        vectors = scorer.vectors
        return cls._joined(
            scorer, {s: scorer.regression_of(s).error(generated, v) for s, v in vectors.items()}
        )

    @classmethod
    def floor(cls, scorer: SampleScorer) -> float:
        """Error on the report split: the regression is trained on judge-train, the usual floor."""
        streams = scorer.dataset.vectors
        return cls._joined(scorer, {s: scorer.regression_of(s).error_on_report for s in streams})

    @staticmethod
    def _joined(scorer: SampleScorer, errors: dict[str, float]) -> float:
        """The root mean square over all numbers, from that of each stream."""
        sizes = scorer.dataset.vectors
        squares = sum(sizes[stream] * error**2 for stream, error in errors.items())
        return float(np.sqrt(squares / sum(sizes.values())))


class ImageTextMetric:
    """What the two metrics on the emoji image-text heads share (metrics/image_text.py)."""

    version = 1
    needs = "samples"
    conditions = ("text",)
    higher_is_better = True
    check = staticmethod(image_text.check)
    fingerprint = staticmethod(image_text.fingerprint)
    note = staticmethod(image_text.note)
    unfit = staticmethod(image_text.unfit)


@METRICS.register("image_text_score")
class ImageTextScore(ImageTextMetric):
    """Emoji image-text score: 100 x cosine of each sample and its prompt; not a CLIP score.

    In [-100, 100], higher is better; for the data set emoji only.
    """

    label = "image-text score@{n}"
    min_samples = 1

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        return image_text.heads().score(generated, _sentences(scorer))

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """The score of the real images with the same prompts."""
        return image_text.heads().score(scorer.paired_features, _sentences(scorer))


@METRICS.register("prompt_retrieval")
class PromptRetrieval(ImageTextMetric):
    """Share of samples whose own prompt is among the ten nearest (R@10), by the same heads.

    In [0, 1], higher is better; for the data set emoji only. At least 11 samples.
    """

    label = "prompt in top 10@{n}"
    min_samples = 11

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        return _recall_at_10(generated, scorer)

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """R@10 of the real images with the same prompts."""
        return _recall_at_10(scorer.paired_features, scorer)


@METRICS.register("clip_score")
class ClipScore:
    """100 x cosine of each sample and its prompt in the CLIP that the scale names.

    In [-100, 100], higher is better (arXiv 2104.08718, without its cut at 0 and factor 2.5).
    """

    version = 1
    needs = "samples"
    libraries = ("transformers",)
    conditions = ("text",)  # or the class name in a template
    higher_is_better = True
    label = "CLIP score@{n}"
    min_samples = 1

    @staticmethod
    def compute(
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        scorer.require_order(labels)
        return _clip(scorer).score(images, scorer.clip_prompts)

    @staticmethod
    def floor(scorer: SampleScorer) -> float:
        """The score of the real images with the same prompts."""
        real = scorer.dataset.split(scorer.reference).images[scorer.rows]
        return _clip(scorer).score(real, scorer.clip_prompts)


def _clip(scorer: SampleScorer) -> Clip:
    if scorer.clip is None:
        raise CabenchError(
            "clip_score needs a CLIP: `clip: {path: FOLDER}` in the scale, or "
            "`cabench score --clip FOLDER`"
        )
    return scorer.clip


def _sentences(scorer: SampleScorer) -> np.ndarray:
    """(n, 384) sentence embeddings of the samples' prompts."""
    among = distinct_texts(scorer.dataset)
    return image_text.sentence_embeddings(scorer.prompts, scorer.cache, among)


def _recall_at_10(features: Features, scorer: SampleScorer) -> float:
    heads = image_text.heads()
    cosine = heads.images(features) @ heads.prompts(_sentences(scorer)).T  # (n, n)
    return image_text.retrieval(cosine, np.arange(len(cosine)), 10)
