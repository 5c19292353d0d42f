"""The metrics of generated samples. Heavy imports wait inside `compute`."""

from __future__ import annotations

from cabench.metrics.fidelity import KID_MIN, fid, kid
from cabench.registry import METRICS


@METRICS.register("kid")
class Kid:
    """Kernel Inception Distance on the judge's 1280 features: unbiased, the primary at small n."""

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
    """Frechet distance on the judge's pooled 112-channel stage; biased by n, so named with it."""

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
