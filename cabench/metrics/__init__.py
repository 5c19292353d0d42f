"""Metrics of samples and of trained networks. Importing this loads neither torch nor onnxruntime.

`base.Metric` says what a metric provides. `SampleScorer` computes the ones that need samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cabench.metrics import (  # noqa: F401  (register)
    families,
    map_agreement,
    model_metrics,
    sample_metrics,
    trained,
)
from cabench.metrics.base import (
    Metric,
    ModelMetric,
    conditions_of,
    extractor_of,
    learned_fingerprint,
    measures_unseen,
    network_of,
    note_of,
    scale_of,
    twin_of,
)
from cabench.metrics.base import unfit as _unfit
from cabench.metrics.extractors import DEFAULT, FeatureExtractor, Lite0, lite0_fingerprint
from cabench.metrics.reference import report_labels
from cabench.metrics.scorer import SampleMetric, SampleScorer
from cabench.registry import EXTRACTORS, METRICS, versioned

__all__ = [
    "FeatureExtractor",
    "Lite0",
    "Metric",
    "ModelMetric",
    "SampleMetric",
    "SampleScorer",
    "conditions_of",
    "describe",
    "describe_unseen",
    "extractor_fingerprints",
    "lite0_fingerprint",
    "names",
    "needing",
    "network_of",
    "report_labels",
    "scale_of",
    "unfit",
    "versions",
]


def names() -> list[str]:
    """All registered metrics, sorted."""
    return METRICS.names()


def needing(what: str, chosen: Iterable[str]) -> list[str]:
    """Those of the chosen metrics that need `what`: "samples" or "model"."""
    return [name for name in chosen if METRICS.get(name).needs == what]


def versions(names: Iterable[str]) -> dict[str, int | dict[str, Any]]:
    """What identifies each metric's code in trial keys: {name: version}.

    Of a plugin's metric and of one with learned parameters the value is a mapping with their
    sha256, too.
    """
    return {name: _version(METRICS.get(name)) for name in names}


def _version(metric: Metric) -> int | dict[str, Any]:
    content, learned = versioned(metric), learned_fingerprint(metric)
    if learned is not None:
        content |= {"fingerprint": learned}
    return content["version"] if list(content) == ["version"] else content


def extractor_fingerprints(names: Iterable[str]) -> dict[str, str]:
    """Fingerprints of the feature extractors that metrics use, except the default, by name."""
    used = {extractor_of(METRICS.get(name)) for name in needing("samples", names)}
    return {name: EXTRACTORS.get(name).fingerprint_of() for name in sorted(used - {DEFAULT})}


def unfit(name: str) -> str:
    """Why no claim may be tested with a metric; '' if one may."""
    return _unfit(METRICS.get(name))


def describe(name: str, n: int) -> dict[str, object]:
    """How tables print a metric: label, direction, scale and note, as JSON for manifests.

    The label holds n, since FID's bias depends on n.
    """
    metric: Metric = METRICS.get(name)
    description: dict[str, object] = {
        "label": metric.label.format(n=n),
        "higher_is_better": metric.higher_is_better,
        "scale": scale_of(metric),
    }
    if (note := note_of(metric)) is not None:
        description["note"] = note
    if twin := twin_of(metric):
        description["twin"] = twin
    return description


def describe_unseen(names: Iterable[str], n: int) -> dict[str, dict[str, object]]:
    """The same for the scores on the split `unseen`: 'kid/unseen' and the like."""
    measured = [name for name in names if measures_unseen(METRICS.get(name))]
    return {f"{name}/unseen": _unseen(describe(name, n)) for name in measured}


def _unseen(description: dict[str, object]) -> dict[str, object]:
    base, at, count = str(description["label"]).partition("@")
    return description | {"label": f"{base} (unseen){at}{count}"}
