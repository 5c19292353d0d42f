"""What can be wrong with samples, done to real pictures: for auditing the metrics."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

CAPTIONS = "shuffled captions"
BLUR, NOISE, QUALITY, MISSING = 1 / 16, 25, 15, 0.3


@dataclass(frozen=True)
class Real:
    """Real pictures as samples: (n, C, H, W) uint8, what was asked for (n,), training pictures."""

    images: np.ndarray
    labels: np.ndarray
    trained: np.ndarray  # (n, C, H, W): training pictures with the same labels


Corruption = Callable[[Real, np.random.RandomState], tuple[np.ndarray, np.ndarray]]
CORRUPTIONS: dict[str, Corruption] = {}


def corruption(name: str) -> Callable[[Corruption], Corruption]:
    def add(made: Corruption) -> Corruption:
        CORRUPTIONS[name] = made
        return made

    return add


def described() -> dict[str, str]:
    return {name: (made.__doc__ or "").split("\n")[0] for name, made in CORRUPTIONS.items()}


@corruption("blur")
def blur(real: Real, rng: np.random.RandomState) -> Any:
    """Gaussian blur, standard deviation 1/16 of the width."""
    from scipy.ndimage import gaussian_filter

    width = real.images.shape[-1] * BLUR
    soft = gaussian_filter(real.images.astype(np.float32), (0, 0, width, width), mode="nearest")
    return np.rint(soft).astype(np.uint8), real.labels


@corruption("noise")
def noise(real: Real, rng: np.random.RandomState) -> Any:
    """Gaussian noise, standard deviation 25 of 255."""
    noisy = real.images + NOISE * rng.standard_normal(real.images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), real.labels


@corruption("JPEG")
def jpeg(real: Real, rng: np.random.RandomState) -> Any:
    """JPEG at quality 15."""
    return np.stack([_jpeg(image) for image in real.images]), real.labels


def _jpeg(image: np.ndarray) -> np.ndarray:
    """(C, H, W) through the codec."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=QUALITY)
    found = np.asarray(Image.open(stream))
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


@corruption("missing classes")
def missing(real: Real, rng: np.random.RandomState) -> Any:
    """Three tenths of the classes are never drawn: other classes' pictures stand in their place."""
    classes = rng.permutation(np.unique(real.labels))
    lost = np.isin(real.labels, classes[: max(1, round(MISSING * len(classes)))])
    images = real.images.copy()
    images[lost] = real.images[~lost][rng.randint(0, (~lost).sum(), lost.sum())]
    return images, real.labels


@corruption("shuffled labels")
def shuffled(real: Real, rng: np.random.RandomState) -> Any:
    """The same pictures, asked for by other pictures' labels."""
    return real.images, rng.permutation(real.labels)


@corruption(CAPTIONS)
def shuffled_captions(real: Real, rng: np.random.RandomState) -> Any:
    """The same pictures, each told another's caption: seen by metrics that read prompts alone."""
    return real.images, real.labels  # audit.py gives those the pictures of other prompts


@corruption("memorised")
def memorised(real: Real, rng: np.random.RandomState) -> Any:
    """Training pictures with the labels asked for, as a generator that copies would draw them."""
    return real.trained, real.labels
