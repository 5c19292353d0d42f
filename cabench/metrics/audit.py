"""Does each metric detect what it should, and nothing else? Scores of corrupted real images.

Real images of one half of the report split take the place of a perfect generator's samples; the
other half is the reference. Each corruption is applied to `draws` sets of n of them. A shift is the
change of the mean in standard deviations of the uncorrupted sets' scores; beyond LIMIT it counts as
detected.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cabench import metrics
from cabench.data.dataset import Dataset, Split, stratified
from cabench.metrics.corruptions import CAPTIONS, CORRUPTIONS, RealSet
from cabench.metrics.reference import matched
from cabench.registry import METRICS

LIMIT = 2.0  # standard deviations
INTACT = "intact"
WORSE, FLAT, BETTER, NOT_WORSE = "worse", "flat", "better", "not worse"
DEFAULTS = (
    "kid_levels",
    "kid",
    "kid_trained",
    "fid_lite0_112",
    "accuracy_trained",
    "precision_lite0",
    "recall_lite0",
    "isc_lite0",
    "kid_classwise",
    "condition_accuracy",
    "memorised",
)
PROMPTED = ("image_text_score", "prompt_retrieval", "style_accuracy")  # need labels' order
# Fixed before measuring: corruptions that should make a metric worse; the others should not.
QUALITY = ("blur", "noise", "JPEG")
EXPECTED = {
    "kid": (*QUALITY, "missing classes"),
    "fid": (*QUALITY, "missing classes"),
    "precision": QUALITY,
    "recall": (*QUALITY, "missing classes"),
    "isc": (*QUALITY, "missing classes"),
    "kid_classwise": (*QUALITY, "missing classes", "shuffled labels"),
    "condition_accuracy": (*QUALITY, "missing classes", "shuffled labels"),
    "memorised": ("memorised",),
    "image_text_score": (*QUALITY, "missing classes", CAPTIONS, "memorised"),  # other captions
    "style_accuracy": (*QUALITY, "missing classes", CAPTIONS, "memorised"),  # other styles
    "prompt_retrieval": (*QUALITY, "missing classes", CAPTIONS, "memorised"),
}

Scores = dict[str, list[dict[str, float]]]  # corruption -> scores of each set, by metric


@dataclass(frozen=True)
class AuditRow:
    """One metric on one corruption; a row of reports/audit.*.csv."""

    # fmt: off
    metric: str
    label: str        # of the metric, in tables
    corruption: str
    expected: str     # WORSE, FLAT, NOT_WORSE, or "" where nothing is expected
    effect: str       # WORSE, FLAT or BETTER
    shift: float      # in standard deviations; positive is worse
    intact: float     # mean score of uncorrupted sets
    corrupted: float  # mean score of corrupted sets
    sd: float         # of the uncorrupted sets' scores
    agrees: bool      # the effect is as expected
    n: int            # images in a set
    sets: int
    data: str
    # fmt: on


def expected(metric: str, corruption: str) -> str:
    """What a corruption should do to a metric; '' if nothing is expected of the metric."""
    detected = EXPECTED.get(metric) or EXPECTED.get(metric.split("_")[0])
    if detected is None:
        return ""
    if corruption in detected:
        return WORSE
    return NOT_WORSE if metric == "memorised" else FLAT  # a corrupted copy is no longer a copy


def agrees(expectation: str, effect: str) -> bool:
    """Whether a corruption's effect is as expected."""
    return expectation in ("", effect) or (expectation == NOT_WORSE and effect != WORSE)


def halves(dataset: Dataset) -> tuple[Dataset, Split]:
    """The data set with half of its report split, and the other half."""
    report = dataset.split("report")
    labels = report.streams["label"]
    concepts = report.texts.get("hexcode")
    if concepts is None:
        reference, samples = stratified(labels, (0.5, 0.5))
    else:  # all images of a concept go to one half
        _, first, concept = np.unique(concepts, return_index=True, return_inverse=True)
        parts = stratified(labels[first], (0.5, 0.5))
        reference, samples = (np.flatnonzero(np.isin(concept, part)) for part in parts)
    fingerprint = hashlib.sha256(dataset.fingerprint.encode() + reference.tobytes()).hexdigest()
    splits = dataset.splits | {"report": report.take(reference)}
    half = dataclasses.replace(dataset, splits=splits, fingerprint=fingerprint)
    return half, report.take(samples)


def measure(
    dataset: Dataset,
    n: int,  # images in a set
    draws: int,  # sets
    cache: Path,
    chosen: tuple[str, ...],  # metrics
    progress: Callable[[str], None],  # prints a line after each set
) -> list[AuditRow]:
    """The shift of each metric under each corruption."""
    half, samples = halves(dataset)
    plain = tuple(name for name in chosen if name not in PROMPTED)
    scorer = metrics.SampleScorer(half, n, cache, metrics=plain)
    scorer.prepare()
    train = half.split("generator-train")
    scores: Scores = {name: [] for name in (INTACT, *CORRUPTIONS)}
    for draw in range(draws):
        index = matched(samples.streams["label"], scorer.labels, "half of split 'report'", draw)
        copied = matched(train.streams["label"], scorer.labels, "split 'generator-train'", draw)
        real = RealSet(samples.images[index], samples.streams["label"][index], train.images[copied])
        for place, name in enumerate(scores):
            images, labels = corrupted(name, real, place, draw)
            scores[name].append(scorer.score(images, labels))
        prompted = tuple(name for name in chosen if name in PROMPTED)
        if prompted:
            for name, values in prompted_scores(half, samples, n, draw, cache, prompted).items():
                scores[name][-1] |= values
        progress(f"set {draw + 1} of {draws}")
    return shifts(scores, chosen, scorer)


def corrupted(name: str, real: RealSet, place: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a set under a corruption; INTACT changes nothing."""
    if name == INTACT:
        return real.images, real.labels
    return CORRUPTIONS[name](real, np.random.RandomState(1000 * place + draw))


def prompted_scores(
    half: Dataset,
    samples: Split,
    n: int,
    draw: int,
    cache: Path,
    chosen: tuple[str, ...],  # metrics in PROMPTED
) -> dict[str, dict[str, float]]:
    """Scores by corruption of the metrics that read prompts: each real image with its own."""
    part = samples.take(np.random.RandomState(draw).permutation(len(samples)))
    # the text of this fingerprint names files in the cache: it does not change
    fingerprint = hashlib.sha256(f"{half.fingerprint} told {draw}".encode()).hexdigest()
    splits = half.splits | {"report": part}
    own = dataclasses.replace(half, splits=splits, fingerprint=fingerprint)
    scorer = metrics.SampleScorer(own, n, cache, metrics=chosen)
    train = half.split("generator-train")
    copied = matched(train.streams["label"], scorer.labels, "split 'generator-train'", draw)
    images, trained = part.images[scorer.rows], np.empty_like(part.images[:n])
    trained[np.argsort(scorer.labels, kind="stable")] = train.images[copied]  # label by label
    real = RealSet(images, scorer.labels, trained)
    scores = {INTACT: scorer.score(images, scorer.labels)}
    for place, name in enumerate(CORRUPTIONS, 1):
        changed, _ = corrupted(name, real, place, draw)  # these metrics read no labels
        if name == CAPTIONS:
            changed = images[np.random.RandomState(draw).permutation(n)]
        scores[name] = scorer.score(changed, scorer.labels)
    return scores


def shifts(scores: Scores, chosen: tuple[str, ...], scorer: metrics.SampleScorer) -> list[AuditRow]:
    """Rows by metric and corruption."""
    rows = []
    for metric in chosen:
        sign = -1.0 if METRICS.get(metric).higher_is_better else 1.0
        base = np.array([values[metric] for values in scores[INTACT]])  # (sets,)
        mean, sd = float(base.mean()), float(base.std(ddof=1))
        spread = max(sd, 1e-12 + 1e-3 * abs(mean))  # sd is 0 if all sets have the same score
        for corruption in CORRUPTIONS:
            values = np.array([values[metric] for values in scores[corruption]])
            shift = float(sign * (values - base).mean() / spread)
            effect = WORSE if shift > LIMIT else BETTER if shift < -LIMIT else FLAT
            expectation = expected(metric, corruption)
            rows.append(
                AuditRow(
                    metric=metric,
                    label=str(metrics.describe(metric, scorer.n)["label"]),
                    corruption=corruption,
                    expected=expectation,
                    effect=effect,
                    shift=shift,
                    intact=mean,
                    corrupted=float(values.mean()),
                    sd=sd,
                    agrees=agrees(expectation, effect),
                    n=scorer.n,
                    sets=len(base),
                    data=scorer.dataset.name,
                )
            )
    return rows
