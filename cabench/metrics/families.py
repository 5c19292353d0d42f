"""The usual scores through every judge: fid_, kid_, precision_, recall_, isc_ + the judge's name.

Only Inception's carry the plain titles FID, KID, IS; all carry n, on which they depend.
"""

from __future__ import annotations

import numpy as np

from cabench.metrics import fidelity
from cabench.metrics.extractors import lite0 as judge
from cabench.metrics.extractors import named as judges
from cabench.registry import JUDGES, METRICS


class Family:
    """A score that each judge has a variant of; `layer` is that judge's for it."""

    version = 1
    needs = "samples"
    higher_is_better = False
    of: str  # in JUDGES' `layers`
    words: str  # in the label
    judge: str
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
    for name in JUDGES.names():
        network = JUDGES.get(name)
        for prefix, family in {
            "fid": Fid,
            "kid": Kid,
            "precision": Precision,
            "recall": Recall,
            "isc": InceptionScore,
        }.items():
            layer = network.layers.get(family.of)
            if layer is None or (name == judges.DEFAULT and family in (Fid, Kid)):
                continue  # those two of the default judge are `kid` and `fid_lite0_112`
            words = family.words + (f"-{network.title}" if network.title else "")
            METRICS.register(f"{prefix}_{network.short}")(
                type(
                    family.__name__,
                    (family,),
                    {
                        "__doc__": f"{family.__doc__[:-1]}; features of {name}.",
                        "judge": name,
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

    judge, layer, label, min_samples = judges.DEFAULT, "1280", "IS-lite0@{n}", fidelity.SPLITS

    @classmethod
    def compute(cls, generated, reference, images, labels, scorer) -> float:
        weight, bias = judge.class_layer()
        with fidelity.one_thread():
            return cls.score(generated["1280"].astype(np.float64) @ weight.T + bias, None)
