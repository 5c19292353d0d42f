"""A linear probe on EfficientNet-Lite0's features: which class does a picture look like?

Multinomial logistic regression on both stages, standardised. Measured on fashion16 (judge-train
10,000, accuracy on report): 1280 alone .840, 112 alone .858, both .856; on digits .84, .86, .88;
ridge regression on 1280 .830. So both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from cabench.metrics.fidelity import one_thread

VERSION = 1
FEATURES = ("1280", "112")
PENALTY = 1e-2  # mean log loss + PENALTY / 2 * |W|^2; best of a grid on fashion16 and on digits


@dataclass(frozen=True)
class Probe:
    """Fitted scales and weights; `accuracy_on_report` is what real pictures reach."""

    # fmt: off
    mean: np.ndarray                # (D,)
    scale: np.ndarray               # (D,)
    weight: np.ndarray              # (D, K)
    bias: np.ndarray                # (K,)
    classes: np.ndarray             # (K,) int64: the labels behind the columns
    accuracy_on_report: float
    # fmt: on

    def predict(self, features: dict[str, np.ndarray]) -> np.ndarray:
        """(N,) int64: the most likely label of each picture."""
        with one_thread():
            scores = (_stack(features) - self.mean) / self.scale @ self.weight + self.bias
        return self.classes[scores.argmax(axis=1)]

    def accuracy(self, features: dict[str, np.ndarray], labels: np.ndarray) -> float:
        return float((self.predict(features) == labels).mean())

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> Probe:
        return cls(**{**arrays, "accuracy_on_report": float(arrays["accuracy_on_report"])})


def fit(train, train_labels, report, report_labels) -> Probe:
    """A probe of `train` features (label by label), with its accuracy on `report` features."""
    from sklearn.linear_model import LogisticRegression

    x = _stack(train)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.maximum(spread, 0.1 * np.median(spread))  # dead features stay small
    model = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=200, tol=1e-3)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stopping at max_iter: accuracy has settled by then
        model.fit((x - mean) / scale, train_labels)
    weight, bias = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one column of two
        weight, bias = np.hstack([-weight / 2, weight / 2]), np.array([-bias[0], bias[0]]) / 2
    fitted = Probe(mean, scale, weight, bias, model.classes_.astype(np.int64), float("nan"))
    accuracy = fitted.accuracy(report, report_labels)
    return Probe(**{**vars(fitted), "accuracy_on_report": accuracy})


def _stack(features: dict[str, np.ndarray]) -> np.ndarray:
    """(N, D) float64 of the stages in use."""
    return np.concatenate([features[name] for name in FEATURES], axis=1).astype(np.float64)
