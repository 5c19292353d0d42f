"""A linear probe on EfficientNet-Lite0's features: which class does an image look like?

Multinomial logistic regression on both layers, standardised. Accuracy on the report split, trained
on judge-train: on fashion16 .840 (layer 1280), .858 (112), .856 (both); on digits .84, .86, .88;
ridge regression on 1280 reaches .830. Hence both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cabench.metrics.extractors.base import Features
from cabench.metrics.fidelity import one_thread

VERSION = 1
FEATURES = ("1280", "112")
PENALTY = 1e-2  # mean log loss + PENALTY / 2 * |W|^2; the best of a grid on fashion16 and on digits


@dataclass(frozen=True)
class Probe:
    """A fitted probe; `accuracy_on_report` is the accuracy on real images."""

    # fmt: off
    mean: np.ndarray                # (D,)
    scale: np.ndarray               # (D,)
    weight: np.ndarray              # (D, K)
    bias: np.ndarray                # (K,)
    classes: np.ndarray             # (K,) int64: the label of each column
    accuracy_on_report: float
    # fmt: on

    def predict(self, features: Features) -> np.ndarray:
        """(N,) int64: the most likely label of each image."""
        with one_thread():
            scores = (stack(features) - self.mean) / self.scale @ self.weight + self.bias
        return self.classes[scores.argmax(axis=1)]

    def accuracy(self, features: Features, labels: np.ndarray) -> float:
        """Share of images that are assigned to their label (N,)."""
        return float((self.predict(features) == labels).mean())

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields as arrays, for an .npz file; `load` reads them."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> Probe:
        """The probe whose `arrays()` these are."""
        fields: dict[str, Any] = dict(arrays)
        fields["accuracy_on_report"] = float(arrays["accuracy_on_report"])
        return cls(**fields)


def fit(
    train: Features,  # {layer: (N, D)}
    train_labels: np.ndarray,  # (N,)
    report: Features,
    report_labels: np.ndarray,
) -> Probe:
    """A probe fitted to training features, with its accuracy on the report features."""
    from sklearn.linear_model import LogisticRegression

    x = stack(train)  # (N, D)
    mean, scale = scaling(x)
    model = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=200, tol=1e-3)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping at max_iter: the accuracy is stable by then
        model.fit((x - mean) / scale, train_labels)
    weight, bias = np.asarray(model.coef_).T, np.asarray(model.intercept_)  # (D, K), (K,)
    if len(model.classes_) == 2:  # scikit-learn has one column for two classes
        weight, bias = np.hstack([-weight / 2, weight / 2]), np.array([-bias[0], bias[0]]) / 2
    fitted = Probe(mean, scale, weight, bias, model.classes_.astype(np.int64), float("nan"))
    return replace(fitted, accuracy_on_report=fitted.accuracy(report, report_labels))


def stack(features: Features) -> np.ndarray:
    """(N, D) float64: the layers in FEATURES side by side."""
    return np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float64)


def scaling(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale (D,) that standardise features (N, D); nearly constant ones stay small.

    A feature that never changes stays 0, also where most features never do.
    """
    spread = x.std(axis=0)
    scale = np.maximum(spread, 0.1 * np.median(spread))
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)
