"""The emoji image-text score: two small heads on frozen networks; it is no CLIP score.

An image's EfficientNet-Lite0 features (1280 + 112) and a prompt's sentence embedding
(MiniLM, 384) are mapped into one space, where the score is 100 times their cosine, as CLIP scores
are written. scripts/train_image_text.py made the heads from the emoji judge-train split alone. How
well they find the prompt of a picture of a concept they never saw is stored with them, and printed
wherever the score is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cabench.errors import CabenchError, DataMissing
from cabench.metrics.extractors.lite0 import lite0_fingerprint
from cabench.runtime.files import file_hash

FILE = Path(__file__).parent / "files" / "image_text.safetensors"
FEATURES = ("1280", "112")  # of EfficientNet-Lite0, in this order
ENCODER = "minilm"
LEAST = 5  # times chance: with less retrieval no verdict may rest on the score


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@dataclass(frozen=True)
class Heads:
    """Fitted scales and the two linear maps; `told`: how they were made and how well they find."""

    mean: np.ndarray  # (1392,) of the features
    scale: np.ndarray  # (1392,)
    image: np.ndarray  # (1392, D)
    text_mean: np.ndarray  # (384,)
    text: np.ndarray  # (384, D)
    told: dict[str, Any]

    def pictures(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """Features -> (N, D), float64, of length one."""
        x = np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float64)
        return unit((x - self.mean) / self.scale @ self.image)

    def prompts(self, sentences: np.ndarray) -> np.ndarray:
        """Sentence embeddings (N, 384) -> (N, D), float64, of length one."""
        return unit((sentences.astype(np.float64) - self.text_mean) @ self.text)

    def score(self, features: dict[str, np.ndarray], sentences: np.ndarray) -> float:
        """100 x the mean cosine of each picture with its own prompt."""
        return float(100 * (self.pictures(features) * self.prompts(sentences)).sum(1).mean())


def retrieval(similar: np.ndarray, right: np.ndarray, k: int) -> float:
    """Share of rows whose right column is among the k most similar; ties count against it."""
    own = similar[np.arange(len(similar)), right]
    return float(((similar >= own[:, None]).sum(1) <= k).mean())


@cache
def heads(path: Path = FILE) -> Heads:
    """The committed heads."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as f:
            told = json.loads(f.metadata()["told"])
            arrays = {name: f.get_tensor(name).astype(np.float64) for name in f.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataMissing(
            f"image-text score: {path} doesn't read ({error}); reinstall cabench or run "
            "`python scripts/train_image_text.py` in its repository"
        ) from None
    return Heads(**arrays, told=told)


def fingerprint() -> str:
    return file_hash(FILE)


def sentence_embeddings(texts: Sequence[str], cache: Path, among: Sequence[str] = ()) -> np.ndarray:
    """(N, 384) of the encoder that the heads were made with."""
    from cabench.text import encoder, sentences

    made, told = encoder(ENCODER), heads().told
    if (made.fingerprint, lite0_fingerprint()) != (told["encoder"], told["judge"]):
        raise CabenchError(
            "image-text score: its heads were made with other weights of EfficientNet-Lite0 or of "
            f"'{ENCODER}' than are installed"
        )
    return sentences(made, texts, cache, among)


def check(dataset: Any) -> None:
    """Refuses a data set that the heads were not made for."""
    if dataset.name != "emoji":
        raise CabenchError(
            f"image_text_score: its heads are trained on emoji; they say nothing of "
            f"'{dataset.name}'"
        )


def quality() -> str:
    """'finds the prompt ... R@1 ..., R@10 ...': what is printed wherever the score is."""
    told = heads().told
    return (
        f"Emoji image-text score: 100 x cosine of two heads on EfficientNet-Lite0 and MiniLM, "
        f"trained on judge-train; not a CLIP score. On {told['pictures']} pictures of "
        f"{told['concepts']} unseen concepts the right prompt comes first for "
        f"{100 * told['r1']:.1f} % and among ten for {100 * told['r10']:.1f} % "
        f"(chance {100 / told['concepts']:.1f} and {1000 / told['concepts']:.1f} %)."
    )


def unfit() -> str:
    """Why no verdict may rest on the score, or ''."""
    told = heads().told
    chance = 10 / told["concepts"]
    if told["r10"] >= LEAST * chance:
        return ""
    return (
        f"no verdict may rest on it: its R@10 on unseen concepts is {100 * told['r10']:.1f} %, "
        f"below {LEAST} x chance ({100 * chance:.1f} %)"
    )
