"""The contract of metrics: what METRICS.register expects, and the defaults of optional members.

A plugin registers a class as we do; it need not inherit from anything here:

    @METRICS.register("brightness")
    class Brightness:
        version, needs, higher_is_better = 1, "samples", False
        label, min_samples = "brightness@{n}", 1

        @staticmethod
        def compute(generated, reference, images, labels, scorer) -> float:
            return float(images.mean())

`SampleMetric` in metrics/scorer.py says what `compute` gets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from cabench.errors import shown
from cabench.metrics.extractors.base import DEFAULT
from cabench.registry import METRICS, missing

if TYPE_CHECKING:
    from torch import nn

    from cabench.data.dataset import Dataset
    from cabench.diffusion.process import Process

REQUIRED = ("version", "needs", "higher_is_better", "label", "compute")


class Metric(Protocol):
    """What every metric has.

    Optional members, read by the functions of this module and by SampleScorer:

    scale = 1.0             tables print value * scale
    extractor = DEFAULT     entry of EXTRACTORS whose features `compute` gets
    network = extractor     what tables call the network that the score rests on
    libraries = ()          packages that scoring imports, tried before anything trains
    conditions = ("label",) streams of the samples' conditions that `compute` reads
    unseen = False          of a metric of models: also measured on the split `unseen`
    floor(scorer)           score of real images; default: `compute` of other real images
    files(scorer)           {path: function that writes it}: what `compute` reads from the cache
    check(dataset)          raises CabenchError for data sets that the metric is not for
    fingerprint()           sha256 of learned parameters; part of trial keys
    note()                  a text printed wherever the metric is
    twin                    name of the metric that measures the same on unrelated features
    unfit()                 why no claim may be tested with the metric; "" if one may
    """

    # fmt: off
    name: str               # set by METRICS.register
    version: int            # raise it when the numbers change; part of trial keys
    needs: str              # "samples" (scorer.SampleMetric) or "model" (ModelMetric)
    higher_is_better: bool
    label: str              # in tables; "{n}" becomes the number of samples
    # fmt: on


class ModelMetric(Metric, Protocol):
    """A score of the trained network itself: `needs = "model"`."""

    def compute(
        self,
        model: nn.Module,  # with averaged weights, in eval mode
        process: Process,
        dataset: Dataset,
        heldout: dict[str, int],  # images, bins, repeats, as in the scale
        device: str,
    ) -> dict[str, float]:
        """Values by name: the metric's own, and '<name>/<part>' for parts of it."""
        ...


def extractor_of(metric: Metric) -> str:
    """The name of the feature extractor that a metric uses.

    `judge`, the attribute's former name, still works.
    """
    return getattr(metric, "extractor", None) or getattr(metric, "judge", DEFAULT)


def network_of(metric: Metric) -> str:
    """What tables call the network that a metric rests on."""
    return getattr(metric, "network", extractor_of(metric))


def conditions_of(metric: Metric) -> tuple[str, ...]:
    """The streams of the samples' conditions that a metric reads; () if it reads images only."""
    return tuple(getattr(metric, "conditions", ("label",)))


def scale_of(metric: Metric) -> float:
    """The factor by which tables multiply a metric's values."""
    return getattr(metric, "scale", 1.0)


def note_of(metric: Metric) -> str | None:
    """The text that is printed wherever a metric is; None if it has none."""
    note: Callable[[], str] | None = getattr(metric, "note", None)
    return note() if note else None


def unfit(metric: Metric) -> str:
    """Why no claim may be tested with a metric; '' if one may."""
    reason: Callable[[], str] | None = getattr(metric, "unfit", None)
    return reason() if reason else ""


def twin_of(metric: Metric) -> str:
    """The metric that measures the same on unrelated features; '' if there is none."""
    return getattr(metric, "twin", "")


def learned_fingerprint(metric: Metric) -> str | None:
    """sha256 of a metric's learned parameters; None if it has none."""
    fingerprint: Callable[[], str] | None = getattr(metric, "fingerprint", None)
    return fingerprint() if fingerprint else None


def measures_unseen(metric: Metric) -> bool:
    """Whether a metric is also measured on the split `unseen`."""
    return metric.needs == "samples" or getattr(metric, "unseen", False)


def contract(metric: Any) -> str | None:
    """What is wrong with a registered metric, or None."""
    if problem := missing(metric, REQUIRED):
        return problem
    if metric.needs not in ("samples", "model"):
        return f"needs: expected 'samples' or 'model', got {shown(metric.needs)}"
    if not isinstance(metric.higher_is_better, bool):
        return f"higher_is_better: expected true or false, got {shown(metric.higher_is_better)}"
    if metric.needs == "samples" and not isinstance(getattr(metric, "min_samples", None), int):
        return "min_samples: expected an integer"
    try:
        metric.label.format(n=1)
    except (AttributeError, LookupError, ValueError):
        return f"label: expected a string with no field other than {{n}}, got {shown(metric.label)}"
    return None


METRICS.contract = contract
