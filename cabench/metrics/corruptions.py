"""Corruptions of real images, for the audit of metrics."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

CAPTIONS = "shuffled captions"
BLUR, NOISE, QUALITY, MISSING = 1 / 16, 25, 15, 0.3


@dataclass(frozen=True)
class RealSet:
    """Real images instead of samples."""

    # fmt: off
    images: np.ndarray   # (n, C, H, W) uint8
    labels: np.ndarray   # (n,) that a generator would have been conditioned on
    trained: np.ndarray  # (n, C, H, W) uint8: training images with the same labels
    # fmt: on


Corruption = Callable[[RealSet, np.random.RandomState], tuple[np.ndarray, np.ndarray]]
CORRUPTIONS: dict[str, Corruption] = {}  # real images -> corrupted images and labels


def corruption(name: str) -> Callable[[Corruption], Corruption]:
    """Registers a corruption; the first line of its docstring is printed in the report."""

    def add(function: Corruption) -> Corruption:
        CORRUPTIONS[name] = function
        return function

    return add


def described() -> dict[str, str]:
    """What each corruption does, in one line."""
    return {name: (entry.__doc__ or "").split("\n")[0] for name, entry in CORRUPTIONS.items()}


@corruption("blur")
def blur(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian blur, standard deviation 1/16 of the width."""
    from scipy.ndimage import gaussian_filter

    width = real.images.shape[-1] * BLUR
    soft = gaussian_filter(real.images.astype(np.float32), (0, 0, width, width), mode="nearest")
    return np.rint(soft).astype(np.uint8), real.labels


@corruption("noise")
def noise(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian noise, standard deviation 25 of 255."""
    noisy = real.images + NOISE * rng.standard_normal(real.images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), real.labels


@corruption("JPEG")
def jpeg(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """JPEG at quality 15."""
    return np.stack([_jpeg(image) for image in real.images]), real.labels


def _jpeg(image: np.ndarray) -> np.ndarray:
    """(C, H, W) uint8, encoded and decoded."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=QUALITY)
    decoded = np.asarray(Image.open(stream))
    return decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)


@corruption("missing classes")
def missing(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Images of 30 % of the classes are replaced by images of other classes."""
    classes = rng.permutation(np.unique(real.labels))
    lost = np.isin(real.labels, classes[: max(1, round(MISSING * len(classes)))])
    images = real.images.copy()
    images[lost] = real.images[~lost][rng.randint(0, (~lost).sum(), lost.sum())]
    return images, real.labels


@corruption("shuffled labels")
def shuffled(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The same images with shuffled labels."""
    return real.images, rng.permutation(real.labels)


@corruption(CAPTIONS)
def shuffled_captions(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The same images with shuffled captions: only metrics that read prompts can notice."""
    return real.images, real.labels  # audit.py permutes the images of those metrics


@corruption("memorised")
def memorised(real: RealSet, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Training images with the same labels, as a generator that copies would draw them."""
    return real.trained, real.labels
