"""Graded corruptions: how strong must each be to cost a metric as much as shorter training?

The corruptions act on saved samples, or on real images of one half of the report split with the
other half as the reference, as in `metrics.audit`. Each has several strengths in one unit: grey
levels, pixels, or a share of the images. A metric that is moved more by grain of a few grey levels
than by wrong shapes measures grain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cabench import metrics
from cabench.data.dataset import Dataset
from cabench.metrics.audit import halves
from cabench.metrics.reference import matched
from cabench.registry import METRICS

BACKGROUND = 8  # grey levels: darker pixels are background

Corrupt = Callable[[np.ndarray, np.ndarray, float, np.random.RandomState], np.ndarray]


@dataclass(frozen=True)
class Graded:
    """A corruption of images (n, C, H, W) uint8 with labels (n,), at several strengths."""

    unit: str
    strengths: tuple[float, ...]
    apply: Corrupt


GRADED: dict[str, Graded] = {}


def graded(name: str, unit: str, *strengths: float) -> Callable[[Corrupt], Corrupt]:
    """Registers a graded corruption; the first line of its docstring is printed in the report."""

    def add(function: Corrupt) -> Corrupt:
        GRADED[name] = Graded(unit, strengths, function)
        return function

    return add


@graded("background noise", "grey levels", 2, 4, 8, 16, 25)
def background_noise(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Gaussian noise on pixels below grey level 8; the strength is its standard deviation."""
    noisy = images + strength * rng.standard_normal(images.shape)
    noisy = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return np.where(images < BACKGROUND, noisy, images)


@graded("black level", "grey levels", 4, 8, 16, 25)
def black_level(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Pixels darker than the strength become black, which removes faint noise from a background."""
    return np.where(images < strength, 0, images).astype(np.uint8)


@graded("grain", "grey levels", 1, 2, 4, 8, 16)
def grain(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Gaussian noise on all pixels; the strength is its standard deviation."""
    noisy = images + strength * rng.standard_normal(images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@graded("contrast", "share", 0.02, 0.05, 0.1, 0.2)
def contrast(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Values closer to black by this share."""
    return np.rint(images * (1 - strength)).astype(np.uint8)


@graded("one-pixel shift", "share of images", 0.1, 0.25, 0.5, 1.0)
def shift(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Images moved by one pixel up, down, left or right; the edge is repeated."""
    moved = images.copy()
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[2:]
    for i in _some(len(images), strength, rng):
        y, x = ((0, 1), (2, 1), (1, 0), (1, 2))[rng.randint(4)]
        moved[i] = padded[i, :, y : y + height, x : x + width]
    return moved


@graded("deformation", "pixels", 0.25, 0.5, 1.0, 2.0)
def deformation(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Smooth random displacements; the strength is their standard deviation in pixels."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    n, channels, height, width = images.shape
    smooth = max(height, width) / 8
    field = gaussian_filter(
        rng.standard_normal((n, 2, height, width)), (0, 0, smooth, smooth), mode="wrap"
    )
    field *= strength / field.std(axis=(1, 2, 3), keepdims=True)
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))
    warped = np.empty_like(images)
    for i in range(n):
        for c in range(channels):
            values = map_coordinates(
                images[i, c].astype(np.float32), grid + field[i], order=1, mode="nearest"
            )
            warped[i, c] = np.rint(values)
    return warped


@graded("swapped parts", "share of images", 0.05, 0.1, 0.25, 0.5, 1.0)
def swapped(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """The lower half comes from an image of another class."""
    mixed = images.copy()
    half = images.shape[2] // 2
    for i in _some(len(images), strength, rng):
        mixed[i, :, half:] = images[_of_another_class(labels, i, rng), :, half:]
    return mixed


@graded("wrong class", "share of images", 0.02, 0.05, 0.1, 0.2, 0.4)
def wrong_class(
    images: np.ndarray, labels: np.ndarray, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Real images of another class than the label; classes change places, so none is missing."""
    mixed = images.copy()
    chosen = _some(len(images), strength, rng)
    by_class = chosen[np.argsort(labels[chosen], kind="stable")]
    mixed[by_class] = images[np.roll(by_class, len(by_class) // 2)]  # half a turn: another class
    return mixed


def _some(n: int, share: float, rng: np.random.RandomState) -> np.ndarray:
    """The indices of a random share of n images, at least one."""
    return np.sort(rng.permutation(n)[: max(1, round(share * n))])


def _of_another_class(labels: np.ndarray, i: int, rng: np.random.RandomState) -> int:
    others = np.flatnonzero(labels != labels[i])
    return int(others[rng.randint(len(others))])


# ---- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradedRow:
    """One metric under one corruption at one strength; a row of reports/graded.*.csv."""

    # fmt: off
    metric: str
    label: str        # of the metric, in tables
    corruption: str
    unit: str         # of the strength
    strength: float   # 0: no corruption
    score: float      # mean over the sets
    change: float     # of the mean score; positive is worse
    sd: float         # of the uncorrupted sets' scores
    n: int            # images in a set
    sets: int
    data: str
    # fmt: on


Sets = list[tuple[np.ndarray, np.ndarray]]  # images (n, C, H, W) uint8 and labels (n,)


def real_sets(
    dataset: Dataset,
    n: int,  # images in a set
    draws: int,  # sets
    cache: Path,
    chosen: tuple[str, ...],  # metrics that read no prompts
) -> tuple[metrics.SampleScorer, Sets]:
    """Sets of real images from one half of the report split, and a scorer with the other half."""
    half, samples = halves(dataset)
    scorer = metrics.SampleScorer(half, n, cache, metrics=chosen)
    sets = []
    for draw in range(draws):
        index = matched(samples.streams["label"], scorer.labels, "half of split 'report'", draw)
        sets.append((samples.images[index], samples.streams["label"][index]))
    return scorer, sets


def measure_graded(
    scorer: metrics.SampleScorer,
    sets: Sets,
    progress: Callable[[str], None],  # prints a line after each set
) -> list[GradedRow]:
    """The change of each of the scorer's metrics under each corruption at each strength."""
    scorer.prepare()
    cases = [("", 0.0), *((name, s) for name, entry in GRADED.items() for s in entry.strengths)]
    scores: dict[tuple[str, float], list[dict[str, float]]] = {case: [] for case in cases}
    for draw, (images, labels) in enumerate(sets):
        for name, strength in cases:
            rng = np.random.RandomState(draw)  # one draw of noise, scaled by the strength
            changed = GRADED[name].apply(images, labels, strength, rng) if name else images
            scores[name, strength].append(scorer.score(changed, labels))
        progress(f"set {draw + 1} of {len(sets)}")
    return [row for metric in scorer.metrics for row in _rows(metric, scores, scorer, len(sets))]


def _rows(
    metric: str,
    scores: dict[tuple[str, float], list[dict[str, float]]],
    scorer: metrics.SampleScorer,
    draws: int,
) -> list[GradedRow]:
    sign = -1.0 if METRICS.get(metric).higher_is_better else 1.0
    means = {case: np.mean([each[metric] for each in values]) for case, values in scores.items()}
    intact = [each[metric] for each in scores["", 0.0]]
    return [
        GradedRow(
            metric=metric,
            label=str(metrics.describe(metric, scorer.n)["label"]),
            corruption=name,
            unit=GRADED[name].unit if name else "",
            strength=strength,
            score=float(mean),
            change=float(sign * (mean - means["", 0.0])),
            sd=float(np.std(intact, ddof=1)),
            n=scorer.n,
            sets=draws,
            data=scorer.dataset.name,
        )
        for (name, strength), mean in means.items()
    ]


def strength_that_costs(rows: Sequence[GradedRow], change: float) -> float | None:
    """The strength at which a metric gets worse by `change`; None if even the largest does less.

    `rows`: one metric and corruption, by strength. Between strengths the change is interpolated
    linearly, and so it is between no corruption and the first.
    """
    before, at = 0.0, 0.0
    for row in sorted(rows, key=lambda row: row.strength):
        if row.change >= change:
            return at + (row.strength - at) * (change - before) / (row.change - before)
        before, at = row.change, row.strength
    return None
