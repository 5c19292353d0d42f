"""The emoji image-text score: two small heads on frozen networks. It is not a CLIP score.

Two linear heads map an image's EfficientNet-Lite0 features (1280 + 112) and a prompt's sentence
embedding (MiniLM, 384) into one space; the score is 100 x their cosine, the convention of CLIP
scores. scripts/train_image_text.py trained them on the split judge-train of emoji. Their retrieval
accuracy on unseen concepts is stored in the file, and printed wherever the score is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cabench.data.dataset import Dataset
from cabench.errors import CabenchError, DataMissing
from cabench.metrics.extractors import Features, lite0_fingerprint
from cabench.runtime.files import file_hash

FILE = Path(__file__).parent / "files" / "image_text.safetensors"
FEATURES = ("1280", "112")  # of EfficientNet-Lite0, in this order
ENCODER = "minilm"
LEAST = 5  # times chance: with a lower R@10 no claim may be tested with the score


def unit(x: np.ndarray) -> np.ndarray:
    """`x` with rows of unit length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@dataclass(frozen=True)
class Heads:
    """Two fitted linear maps into D dimensions; `about`: their training data and accuracy."""

    mean: np.ndarray  # (1392,) of the features
    scale: np.ndarray  # (1392,)
    image: np.ndarray  # (1392, D)
    text_mean: np.ndarray  # (384,)
    text: np.ndarray  # (384, D)
    about: dict[str, Any]  # encoder, judge (sha256), trained_on, pictures, concepts, r1, r10

    def images(self, features: Features) -> np.ndarray:
        """Features of N images -> (N, D) float64 of unit length."""
        x = np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float64)
        return unit((x - self.mean) / self.scale @ self.image)

    def prompts(self, sentences: np.ndarray) -> np.ndarray:
        """Sentence embeddings (N, 384) -> (N, D) float64 of unit length."""
        return unit((sentences.astype(np.float64) - self.text_mean) @ self.text)

    def score(self, features: Features, sentences: np.ndarray) -> float:
        """100 x the mean cosine of each image and its own prompt."""
        return float(100 * (self.images(features) * self.prompts(sentences)).sum(1).mean())


def retrieval(similarity: np.ndarray, target: np.ndarray, k: int) -> float:
    """R@k: share of rows of similarity (N, M) whose target column (N,) is among the k largest.

    Ties count as misses.
    """
    own = similarity[np.arange(len(similarity)), target]  # (N,)
    return float(((similarity >= own[:, None]).sum(1) <= k).mean())


@cache
def heads(path: Path = FILE) -> Heads:
    """The heads in the package; raises DataMissing if their file is corrupted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as f:
            about = json.loads(f.metadata()["told"])
            arrays = {name: f.get_tensor(name).astype(np.float64) for name in f.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataMissing(
            f"image-text score: {path} doesn't read ({error}); reinstall cabench or run "
            "`python scripts/train_image_text.py` in its repository"
        ) from None
    return Heads(**arrays, about=about)


def fingerprint() -> str:
    """sha256 of the heads' file."""
    return file_hash(FILE)


def sentence_embeddings(texts: Sequence[str], cache: Path, among: Sequence[str] = ()) -> np.ndarray:
    """(N, 384) embeddings of texts; `among`: all texts that will be asked for, cached at once.

    Raises CabenchError if the installed networks are not the ones that the heads were trained on.
    """
    from cabench.text import encoder, sentences

    text_encoder, about = encoder(ENCODER), heads().about
    if (text_encoder.fingerprint, lite0_fingerprint()) != (about["encoder"], about["judge"]):
        raise CabenchError(
            "image-text score: its heads were trained with other weights of EfficientNet-Lite0 or "
            f"of '{ENCODER}' than the installed ones"
        )
    return sentences(text_encoder, texts, cache, among)


def check(dataset: Dataset) -> None:
    """Raises CabenchError for a data set that the heads were not trained for."""
    if dataset.name != "emoji":
        raise CabenchError(
            f"image_text_score: its heads are trained on emoji, got data set '{dataset.name}'"
        )


def note() -> str:
    """What is printed wherever the score is: its definition, and its R@1 and R@10 on new concepts.

    Manifests and records hold this text, so it does not change.
    """
    about = heads().about
    return (
        f"Emoji image-text score: 100 x cosine of two heads on EfficientNet-Lite0 and MiniLM, "
        f"trained on judge-train; not a CLIP score. On {about['pictures']} pictures of "
        f"{about['concepts']} unseen concepts the right prompt comes first for "
        f"{100 * about['r1']:.1f} % and among ten for {100 * about['r10']:.1f} % "
        f"(chance {100 / about['concepts']:.1f} and {1000 / about['concepts']:.1f} %)."
    )


def unfit() -> str:
    """Why no claim may be tested with the score; '' if one may."""
    about = heads().about
    chance = 10 / about["concepts"]
    if about["r10"] >= LEAST * chance:
        return ""
    return (
        f"no claim may be tested with it: its R@10 on unseen concepts is "
        f"{100 * about['r10']:.1f} %, below {LEAST} x chance ({100 * chance:.1f} %)"
    )
