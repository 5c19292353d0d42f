"""The metrics of a trial. Importing this loads neither torch nor onnxruntime.

A metric is a class registered in METRICS; plugins register as ours do:

    @METRICS.register("my_metric")
    class MyMetric:
        version = 1                       # raise it when the number would change; in trial keys
        needs = "samples"                 # "samples": compute() below; "model": a trained network
        higher_is_better = False
        label = "my metric@{n}"           # for tables
        scale = 1.0                       # tables print value x scale
        min_samples = 2                   # fewer are refused
        extractor = "efficientnet-lite0"  # optional: the entry of EXTRACTORS whose features it gets

        @staticmethod
        def compute(generated, reference, images, labels, scorer) -> float: ...

        @staticmethod                     # optional; else compute() of other real pictures
        def floor(scorer) -> float: ...

Further optional ones: check(dataset) raises a CabenchError for data it is not for; fingerprint(),
of what it has learned, goes into keys; note() is printed wherever the metric is; unfit() says why
no verdict may rest on it ('' if one may).

`generated` and `reference` are the extractor's features of the samples and of as many real pictures
with the same labels, {layer: (n, D)} float32, of the default extractor {"112": .., "1280": ..};
`images` (n, C, H, W) uint8 and `labels` (n,) int64 are the samples and what was asked for; `scorer`
is the SampleScorer.
"""

from __future__ import annotations

from collections.abc import Iterable

from cabench.metrics import contract, families, model_metrics, sample_metrics  # noqa: F401  (they register)
from cabench.metrics.extractors.lite0 import Lite0, lite0_fingerprint
from cabench.metrics.extractors.named import DEFAULT, extractor_of
from cabench.metrics.reference import report_labels
from cabench.metrics.scorer import SampleScorer
from cabench.registry import EXTRACTORS, METRICS, versioned

__all__ = [
    "Lite0",
    "SampleScorer",
    "describe",
    "extractor_fingerprints",
    "lite0_fingerprint",
    "names",
    "needing",
    "report_labels",
    "versions",
]


def versions(names: Iterable[str]) -> dict[str, object]:
    """The version of each named metric, for trial keys.

    A metric from a plugin, or with learned weights, adds their hashes.
    """
    told = {name: versioned(METRICS.get(name)) | _fingerprint(name) for name in names}
    return {name: t["version"] if list(t) == ["version"] else t for name, t in told.items()}


def _fingerprint(name: str) -> dict[str, str]:
    """Of what a metric has learned, if it has."""
    made = getattr(METRICS.get(name), "fingerprint", None)
    return {"fingerprint": made()} if made else {}


def extractor_fingerprints(names: Iterable[str]) -> dict[str, str]:
    """Fingerprints of the feature extractors that metrics use, by name, without the default one."""
    chosen = needing("samples", names)
    found = sorted({extractor_of(METRICS.get(name)) for name in chosen} - {DEFAULT})
    return {name: EXTRACTORS.get(name).fingerprint_of() for name in found}


def names() -> list[str]:
    return METRICS.names()


def describe(name: str, n: int) -> dict[str, object]:
    """How a table prints a metric: its label holds n, since FID's bias depends on n."""
    metric = METRICS.get(name)
    return {
        "label": metric.label.format(n=n),
        "higher_is_better": metric.higher_is_better,
        "scale": getattr(metric, "scale", 1.0),
        **({"note": metric.note()} if hasattr(metric, "note") else {}),
    }


def describe_unseen(names: Iterable[str], n: int) -> dict[str, dict[str, object]]:
    """The same of the scores on the split `unseen`: 'kid/unseen' and the like."""
    measured = [
        name
        for name in names
        if METRICS.get(name).needs == "samples" or getattr(METRICS.get(name), "unseen", False)
    ]
    return {f"{name}/unseen": _unseen(describe(name, n)) for name in measured}


def _unseen(told: dict[str, object]) -> dict[str, object]:
    base, at, count = str(told["label"]).partition("@")
    return told | {"label": f"{base} (unseen){at}{count}"}


def needing(what: str, chosen: Iterable[str]) -> list[str]:
    """Those of the chosen metrics that need `what`: "samples" or "model"."""
    return [name for name in chosen if METRICS.get(name).needs == what]
