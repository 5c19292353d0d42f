"""The usual scores on every feature extractor: fid_X, kid_X, precision_X, recall_X, isc_X.

Only Inception's carry the plain titles FID, KID, IS; all carry n, on which they depend.
"""

from __future__ import annotations

import numpy as np

from cabench.metrics import fidelity
from cabench.metrics.extractors import lite0, named
from cabench.registry import EXTRACTORS, METRICS


class Family:
    """A score with one variant per feature extractor; `layer` is the layer it uses."""

    version = 1
    needs = "samples"
    higher_is_better = False
    of: str  # in EXTRACTORS' `layers`
    words: str  # in the label
    extractor: str
    layer: str

    @classmethod
    def score(cls, generated: np.ndarray, reference: np.ndarray) -> float:
        raise NotImplementedError

    @classmethod
    def compute(cls, generated, reference, images, labels, scorer) -> float:
        return cls.score(generated[cls.layer], reference[cls.layer])


class Fid(Family):
    """Frechet distance; biased by n."""

    of, words = "fid", "FID"
    score = staticmethod(fidelity.fid)


class Kid(Family):
    """Kernel distance, unbiased."""

    of, words = "kid", "KID"
    score = staticmethod(fidelity.kid)


class Precision(Family):
    """Share of samples within the real pictures' neighbourhoods."""

    of, words, higher_is_better = "prc", "precision", True

    @staticmethod
    def score(generated, reference):
        return fidelity.precision_recall(generated, reference)[0]


class Recall(Family):
    """Share of real pictures within the samples' neighbourhoods."""

    of, words, higher_is_better = "prc", "recall", True

    @staticmethod
    def score(generated, reference):
        return fidelity.precision_recall(generated, reference)[1]


class InceptionScore(Family):
    """How sure of its class each sample is, and how many classes there are; real ones unused."""

    of, words, higher_is_better = "isc", "IS", True

    @staticmethod
    def score(generated, reference):
        return fidelity.inception_score(generated)


def least(family: type[Family], width: int) -> int:
    """Fewer samples are refused: see `fidelity`."""
    return {
        "fid": 2 * width,
        "kid": fidelity.KID_MIN,
        "prc": fidelity.NEIGHBOURS + 1,
        "isc": fidelity.SPLITS,
    }[family.of]


def _register() -> None:
    for name in EXTRACTORS.names():
        network = EXTRACTORS.get(name)
        for prefix, family in {
            "fid": Fid,
            "kid": Kid,
            "precision": Precision,
            "recall": Recall,
            "isc": InceptionScore,
        }.items():
            layer = network.layers.get(family.of)
            if layer is None or (name == named.DEFAULT and family in (Fid, Kid)):
                continue  # those two of the default extractor are `kid` and `fid_lite0_112`
            words = family.words + (f"-{network.title}" if network.title else "")
            METRICS.register(f"{prefix}_{network.short}")(
                type(
                    family.__name__,
                    (family,),
                    {
                        "__doc__": f"{family.__doc__[:-1]}; features of {name}.",
                        "extractor": name,
                        "layer": layer,
                        "label": words + "@{n}",
                        "min_samples": least(family, network.widths[layer]),
                    },
                )
            )


_register()


@METRICS.register("isc_lite0")
class InceptionScoreLite0(InceptionScore):
    """Inception score with EfficientNet-Lite0's ImageNet classes instead of Inception's."""

    extractor, layer, label, min_samples = named.DEFAULT, "1280", "IS-lite0@{n}", fidelity.SPLITS

    @classmethod
    def compute(cls, generated, reference, images, labels, scorer) -> float:
        weight, bias = lite0.class_layer()
        with fidelity.one_thread():
            return cls.score(generated["1280"].astype(np.float64) @ weight.T + bias, None)
