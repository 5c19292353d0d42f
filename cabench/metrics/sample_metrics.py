"""The metrics of generated samples. Heavy imports wait inside `compute`."""

from __future__ import annotations

import numpy as np

from cabench.data.texts import distinct_texts
from cabench.errors import CabenchError
from cabench.metrics import image_text, neighbours
from cabench.metrics.fidelity import KID_MIN, fid, kid
from cabench.registry import METRICS

CLASS_MIN = 10  # samples of a class; smaller classes are left out


@METRICS.register("kid")
class Kid:
    """KID on EfficientNet-Lite0's 1280 features: unbiased, the primary metric at small n."""

    version = 1
    needs = "samples"
    higher_is_better = False
    label = "KID-lite0@{n}"
    min_samples = KID_MIN

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        return kid(generated["1280"], reference["1280"])


@METRICS.register("fid_lite0_112")
class FidLite0:
    """FID on EfficientNet-Lite0's pooled 112-channel stage; its bias depends on n."""

    version = 1
    needs = "samples"
    higher_is_better = False
    label = "FID-lite0-112@{n}"
    min_samples = 2 * 112

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        return fid(generated["112"], reference["112"])


@METRICS.register("condition_accuracy")
class ConditionAccuracy:
    """Share of samples that a probe trained on real pictures gives the label asked for."""

    version = 1
    needs = "samples"
    higher_is_better = True
    label = "condition accuracy"
    min_samples = 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        return scorer.probe.accuracy(generated, labels)

    @staticmethod
    def floor(scorer) -> float:
        """On the report split: the probe has seen judge-train, where other floors come from."""
        return scorer.probe.accuracy_on_report


@METRICS.register("kid_classwise")
class KidClasswise:
    """KID within each class, samples of a label against real ones of it; the mean over classes.

    Unlike KID it falls for no samples that are real and of the wrong class. Each class's own is
    unbiased, so their mean is; of few pictures it is noisy.
    """

    version = 1
    needs = "samples"
    higher_is_better = False
    label = "class-wise KID-lite0@{n}"
    min_samples = KID_MIN

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        real = scorer.reference_labels
        values = [
            kid(generated["1280"][labels == c], reference["1280"][real == c], CLASS_MIN)
            for c, count in zip(*np.unique(real, return_counts=True), strict=True)
            if count >= CLASS_MIN
        ]
        if not values:
            raise CabenchError(
                f"kid_classwise: no class has {CLASS_MIN} of the {len(labels)} samples"
            )
        return float(np.mean(values))


@METRICS.register("memorised")
class Memorised:
    """Share of samples nearer to a training picture than 99 % of new ones; of the first 10,000.

    Copies of later training pictures are not seen.
    """

    version = neighbours.VERSION
    needs = "samples"
    higher_is_better = False
    label = "memorised@{n}"
    min_samples = 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        return scorer.neighbours(generated["1280"])["memorised"]


@METRICS.register("style_accuracy")
class StyleAccuracy:
    """As condition_accuracy, of the stream `style`: has a sample the style asked for?"""

    version = 1
    needs = "samples"
    higher_is_better = True
    label = "style accuracy"
    min_samples = 1

    @staticmethod
    def check(dataset) -> None:
        if "style" not in dataset.classes:
            raise CabenchError(f"style_accuracy: data set '{dataset.name}' has no stream 'style'")

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        scorer.told_to(labels)
        return scorer.probe_of("style").accuracy(generated, scorer.conditions["style"])

    @staticmethod
    def floor(scorer) -> float:
        """Of real pictures of the split that the samples' conditions are from."""
        return scorer.probe_of("style").accuracy_on_report


class ByHeads:
    """What the two metrics by the emoji image-text heads share."""

    version = 1
    needs = "samples"
    higher_is_better = True
    check = staticmethod(image_text.check)
    fingerprint = staticmethod(image_text.fingerprint)
    note = staticmethod(image_text.quality)
    unfit = staticmethod(image_text.unfit)


@METRICS.register("image_text_score")
class ImageTextScore(ByHeads):
    """Emoji image-text score of samples and their prompts (image_text.py); no CLIP score."""

    label = "image-text score@{n}"
    min_samples = 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        scorer.told_to(labels)
        return image_text.heads().score(generated, _sentences(scorer))

    @staticmethod
    def floor(scorer) -> float:
        """Real pictures of the same split with their own prompts."""
        return image_text.heads().score(scorer.real, _sentences(scorer))


@METRICS.register("prompt_retrieval")
class PromptRetrieval(ByHeads):
    """Share of samples whose own prompt is among the ten nearest prompts, by the same heads."""

    label = "prompt in top 10@{n}"
    min_samples = 11

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        scorer.told_to(labels)
        return _found(generated, scorer)

    @staticmethod
    def floor(scorer) -> float:
        """Real pictures of the same split among their own prompts."""
        return _found(scorer.real, scorer)


@METRICS.register("clip_score")
class ClipScore:
    """CLIP score of samples and their prompts, by the CLIP that the scale names."""

    version = 1
    needs = "samples"
    higher_is_better = True
    label = "CLIP score@{n}"
    min_samples = 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer) -> float:
        scorer.told_to(labels)
        return _clip(scorer).score(images, scorer.clip_prompts)

    @staticmethod
    def floor(scorer) -> float:
        """Real pictures of the same split with their own prompts."""
        real = scorer.dataset.split(scorer.reference).images[scorer.rows]
        return _clip(scorer).score(real, scorer.clip_prompts)


def _clip(scorer):
    if scorer.clip is None:
        how = "`clip: {path: FOLDER}` in the scale, or `cabench score --clip FOLDER`"
        raise CabenchError(f"clip_score needs a CLIP: {how}")
    return scorer.clip


def _sentences(scorer):
    among = distinct_texts(scorer.dataset)
    return image_text.sentence_embeddings(scorer.prompts, scorer.cache, among)


def _found(features, scorer) -> float:
    heads = image_text.heads()
    similar = heads.pictures(features) @ heads.prompts(_sentences(scorer)).T
    return image_text.retrieval(similar, np.arange(len(similar)), 10)
