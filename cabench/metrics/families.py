"""FID, KID, precision, recall and Inception score on every built-in feature extractor.

The table METRICS_BY_NAME lists their names, e.g. `fid_inception` and `kid_dinov2_l14`. Only
Inception's have the plain titles FID, KID and IS. All labels hold n, since the scores depend on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from cabench.metrics import fidelity
from cabench.metrics.extractors import DEFAULT as LITE0
from cabench.metrics.extractors import BuiltInExtractor, Features, lite0
from cabench.metrics.scorer import SampleScorer
from cabench.registry import EXTRACTORS, METRICS

INCEPTION = "inception-v3-compat"


class FeatureMetric(ABC):
    """A score of generated and real features from one layer of one feature extractor."""

    version = 1
    needs = "samples"
    libraries = ("torch_fidelity",)
    conditions = ()
    higher_is_better = False
    kind: ClassVar[str]  # key of the extractor's `layers`
    title: ClassVar[str]  # in the label, before the extractor's title

    def __init__(self, extractor: str, label: str | None = None, twin: str = ""):
        network: type[BuiltInExtractor] = EXTRACTORS.get(extractor)
        self.extractor, self.twin = extractor, twin
        self.layer = network.layers[self.kind]  # its features are (n, D)
        self.label = label or "-".join(filter(None, (self.title, network.title))) + "@{n}"
        self.min_samples = self.least(network.widths[self.layer])
        first_line = (type(self).__doc__ or "").split("\n")[0]
        self.__doc__ = f"{first_line[:-1]}; features of {extractor}."

    @abstractmethod
    def least(self, width: int) -> int:
        """The smallest number of samples, for features (n, width)."""

    @abstractmethod
    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        """The score of features (n, D) of samples, given those of real images."""

    def compute(
        self,
        generated: Features,
        reference: Features,
        images: np.ndarray,
        labels: np.ndarray,
        scorer: SampleScorer,
    ) -> float:
        return self.score(generated[self.layer], reference[self.layer])


class Fid(FeatureMetric):
    """Frechet Inception Distance: in [0, inf), lower is better; its bias depends on n.

    Heusel et al., arXiv 1706.08500, eq. 6. At least 2 D samples.
    """

    kind, title = "fid", "FID"

    def least(self, width: int) -> int:
        return 2 * width

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        return fidelity.fid(generated, reference)


class Kid(FeatureMetric):
    """Kernel Inception Distance: unbiased, so it may fall below 0; lower is better.

    Binkowski et al., arXiv 1801.01401, sec. 4. At least 100 samples.
    """

    kind, title = "kid", "KID"

    def least(self, width: int) -> int:
        return fidelity.KID_MIN

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        return fidelity.kid(generated, reference)


class Precision(FeatureMetric):
    """Share of samples within the manifold of real images: in [0, 1], higher is better.

    Kynkaanniemi et al., arXiv 1904.06991, eq. 3, with k = 3. At least 4 samples.
    """

    kind, title, higher_is_better = "prc", "precision", True

    def least(self, width: int) -> int:
        return fidelity.NEIGHBOURS + 1

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        return fidelity.precision_recall(generated, reference)[0]


class Recall(Precision):
    """Share of real images within the manifold of samples: in [0, 1], higher is better.

    Kynkaanniemi et al., arXiv 1904.06991, eq. 3, with k = 3. At least 4 samples.
    """

    title = "recall"

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        return fidelity.precision_recall(generated, reference)[1]


class InceptionScore(FeatureMetric):
    """Inception score: in [1, classes], higher is better; uses no real images.

    Salimans et al., arXiv 1606.03498, sec. 4, as the mean of 10 parts. At least 10 samples.
    """

    kind, title, higher_is_better = "isc", "IS", True

    def least(self, width: int) -> int:
        return fidelity.SPLITS

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        return fidelity.inception_score(generated)


class InceptionScoreLite0(InceptionScore):
    """Inception score with EfficientNet-Lite0's ImageNet classes instead of Inception's."""

    def score(self, generated: np.ndarray, reference: np.ndarray) -> float:
        weight, bias = lite0.class_layer()
        with fidelity.one_thread():
            logits = generated.astype(np.float64) @ weight.T + bias  # (n, 1000)
            return fidelity.inception_score(logits)


METRICS_BY_NAME = {
    "kid": Kid(LITE0, twin="kid_trained"),  # the primary metric at small n
    "kid_levels": Kid("efficientnet-lite0-levels", twin="kid_trained"),
    "fid_lite0_112": Fid(LITE0, "FID-lite0-112@{n}"),
    "precision_lite0": Precision(LITE0),
    "recall_lite0": Recall(LITE0),
    "isc_lite0": InceptionScoreLite0(LITE0),
    "kid_mobilenetv2": Kid("mobilenetv2"),
    "kid_levels_mobilenetv2": Kid("mobilenetv2-levels"),
    "fid_inception": Fid(INCEPTION, twin="fid_dinov2_b14"),
    "kid_inception": Kid(INCEPTION, twin="kid_dinov2_b14"),
    "precision_inception": Precision(INCEPTION),
    "recall_inception": Recall(INCEPTION),
    "isc_inception": InceptionScore(INCEPTION),
    "fid_clip_b32": Fid("clip-vit-b-32"),
    "kid_clip_b32": Kid("clip-vit-b-32"),
    "precision_clip_b32": Precision("clip-vit-b-32"),
    "recall_clip_b32": Recall("clip-vit-b-32"),
    "fid_clip_b16": Fid("clip-vit-b-16"),
    "kid_clip_b16": Kid("clip-vit-b-16"),
    "precision_clip_b16": Precision("clip-vit-b-16"),
    "recall_clip_b16": Recall("clip-vit-b-16"),
    "fid_clip_l14": Fid("clip-vit-l-14"),
    "kid_clip_l14": Kid("clip-vit-l-14"),
    "precision_clip_l14": Precision("clip-vit-l-14"),
    "recall_clip_l14": Recall("clip-vit-l-14"),
    "fid_dinov2_s14": Fid("dinov2-vit-s-14"),
    "kid_dinov2_s14": Kid("dinov2-vit-s-14"),
    "precision_dinov2_s14": Precision("dinov2-vit-s-14"),
    "recall_dinov2_s14": Recall("dinov2-vit-s-14"),
    "fid_dinov2_b14": Fid("dinov2-vit-b-14"),
    "kid_dinov2_b14": Kid("dinov2-vit-b-14"),
    "precision_dinov2_b14": Precision("dinov2-vit-b-14"),
    "recall_dinov2_b14": Recall("dinov2-vit-b-14"),
    "fid_dinov2_l14": Fid("dinov2-vit-l-14"),
    "kid_dinov2_l14": Kid("dinov2-vit-l-14"),
    "precision_dinov2_l14": Precision("dinov2-vit-l-14"),
    "recall_dinov2_l14": Recall("dinov2-vit-l-14"),
}

for _name, _metric in METRICS_BY_NAME.items():
    METRICS.register(_name)(_metric)
