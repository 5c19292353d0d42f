"""The command `audit`: does each metric see what it should, and nothing else?

Real pictures of an unseen half of the report split stand for a perfect generator's samples; the
other half is the reference. Each corruption is done to `draws` sets of n of them. A shift is the
mean change in standard deviations of the intact sets' scores; beyond LIMIT it is seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cabench import metrics
from cabench.data import Dataset
from cabench.data.dataset import stratified
from cabench.metrics.corruptions import CAPTIONS, CORRUPTIONS, Real
from cabench.metrics.reference import matched
from cabench.registry import METRICS

LIMIT = 2.0  # standard deviations
WORSE, FLAT, BETTER, NOT_WORSE = "worse", "flat", "better", "not worse"
DEFAULTS = (
    "kid",
    "fid_lite0_112",
    "precision_lite0",
    "recall_lite0",
    "isc_lite0",
    "kid_classwise",
    "condition_accuracy",
    "memorised",
)
# Fixed before measuring. What is not named is expected to be flat.
PICTURES = ("blur", "noise", "JPEG")
EXPECTED = {
    "kid": (*PICTURES, "missing classes"),
    "fid": (*PICTURES, "missing classes"),
    "precision": PICTURES,
    "recall": (*PICTURES, "missing classes"),
    "isc": (*PICTURES, "missing classes"),
    "kid_classwise": (*PICTURES, "missing classes", "shuffled labels"),
    "condition_accuracy": (*PICTURES, "missing classes", "shuffled labels"),
    "memorised": ("memorised",),
    "image_text_score": (*PICTURES, "missing classes", CAPTIONS, "memorised"),  # other captions
    "style_accuracy": (*PICTURES, "missing classes", CAPTIONS, "memorised"),  # other styles
    "prompt_retrieval": (*PICTURES, "missing classes", CAPTIONS, "memorised"),
}
# They read what else each sample is told
PROMPTED = ("image_text_score", "prompt_retrieval", "style_accuracy")


def expected(metric: str, corruption: str) -> str:
    """What a corruption should do to a metric; '' of a metric that says nothing about it."""
    told = EXPECTED.get(metric) or EXPECTED.get(metric.split("_")[0])
    if told is None:
        return ""
    if corruption in told:
        return WORSE
    return NOT_WORSE if metric == "memorised" else FLAT  # what is spoilt is no copy any more


def agrees(wanted: str, seen: str) -> bool:
    return wanted in ("", seen) or (wanted == NOT_WORSE and seen != WORSE)


def halves(dataset: Dataset) -> tuple[Dataset, Any]:
    """The data set with half of its report split, and the other half as a split."""
    report = dataset.split("report")
    labels = report.streams["label"]
    concepts = report.texts.get("hexcode")
    if concepts is None:
        kept, unseen = stratified(labels, (0.5, 0.5))
    else:  # all pictures of a concept go to one half
        _, first, of = np.unique(concepts, return_index=True, return_inverse=True)
        parts = stratified(labels[first], (0.5, 0.5))
        kept, unseen = (np.flatnonzero(np.isin(of, part)) for part in parts)
    name = hashlib.sha256(dataset.fingerprint.encode() + kept.tobytes()).hexdigest()
    splits = dataset.splits | {"report": report.take(kept)}
    return dataclasses.replace(dataset, splits=splits, fingerprint=name), report.take(unseen)


def measure(
    dataset: Dataset, n: int, draws: int, cache: Path, chosen: tuple[str, ...], told: Any
) -> pd.DataFrame:
    """Rows of metric x corruption: expected, found, shift, clean and corrupted means, sd."""
    dataset_half, unseen = halves(dataset)
    plain = tuple(name for name in chosen if name not in PROMPTED)
    scorer = metrics.SampleScorer(dataset_half, n, cache, metrics=plain)
    scorer.prepare()
    train = dataset_half.split("generator-train")
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ("intact", *CORRUPTIONS)}
    for draw in range(draws):
        index = matched(unseen.streams["label"], scorer.labels, "half of split 'report'", draw)
        copied = matched(train.streams["label"], scorer.labels, "split 'generator-train'", draw)
        real = Real(unseen.images[index], unseen.streams["label"][index], train.images[copied])
        for place, name in enumerate(scores):
            images, labels = spoilt(name, real, place, draw)
            scores[name].append(scorer.score(images, labels))
        if len(plain) < len(chosen):
            for name, found in prompted(
                dataset_half, unseen, n, draw, cache, chosen, train
            ).items():
                scores[name][-1] |= found
        told(f"set {draw + 1} of {draws}")
    return _shifts(scores, chosen, scorer)


def spoilt(name: str, real: Real, place: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    made = CORRUPTIONS.get(name, lambda r, _: (r.images, r.labels))
    return made(real, np.random.RandomState(1000 * place + draw))


def prompted(
    dataset_half: Dataset,
    unseen: Any,
    n: int,
    draw: int,
    cache: Path,
    chosen: tuple[str, ...],
    train: Any,
) -> dict[str, dict[str, float]]:
    """Scores by corruption of the metrics that read prompts: real pictures with their own ones."""
    part = unseen.take(np.random.RandomState(draw).permutation(len(unseen)))
    shown = dataclasses.replace(
        dataset_half,
        splits=dataset_half.splits | {"report": part},
        fingerprint=hashlib.sha256(f"{dataset_half.fingerprint} told {draw}".encode()).hexdigest(),
    )
    scorer = metrics.SampleScorer(
        shown, n, cache, metrics=[name for name in chosen if name in PROMPTED]
    )
    copied = matched(train.streams["label"], scorer.labels, "split 'generator-train'", draw)
    images, trained = part.images[scorer.rows], np.empty_like(part.images[:n])
    trained[np.argsort(scorer.labels, kind="stable")] = train.images[copied]  # label by label
    real = Real(images, scorer.labels, trained)
    scores = {"intact": scorer.score(images, scorer.labels)}
    for place, name in enumerate(CORRUPTIONS, 1):
        found, _ = spoilt(name, real, place, draw)  # prompts are told, labels are not
        if name == CAPTIONS:
            found = images[np.random.RandomState(draw).permutation(n)]
        scores[name] = scorer.score(found, scorer.labels)
    return scores


def _shifts(scores: dict, chosen: tuple[str, ...], scorer: metrics.SampleScorer) -> pd.DataFrame:
    intact = pd.DataFrame(scores.pop("intact"))
    rows = []
    for metric in chosen:
        sign = -1.0 if METRICS.get(metric).higher_is_better else 1.0
        base = intact[metric]
        for name, found in scores.items():
            values = pd.DataFrame(found)[metric]
            # equal to the last bit in every set: no spread is needed to tell
            spread = max(base.std(ddof=1), 1e-12 + 1e-3 * abs(base.mean()))
            shift = sign * (values - base).mean() / spread
            seen = WORSE if shift > LIMIT else BETTER if shift < -LIMIT else FLAT
            wanted = expected(metric, name)
            rows.append(
                {
                    "metric": metric,
                    "label": metrics.describe(metric, scorer.n)["label"],
                    "corruption": name,
                    "expected": wanted,
                    "found": seen,
                    "shift": shift,
                    "intact": base.mean(),
                    "corrupted": values.mean(),
                    "sd": base.std(ddof=1),
                    "agrees": agrees(wanted, seen),
                    "n": scorer.n,
                    "sets": len(base),
                    "data": scorer.dataset.name,
                }
            )
    return pd.DataFrame(rows)
