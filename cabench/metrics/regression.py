"""A ridge regression on EfficientNet-Lite0's features: which numbers does an image look like?

The counterpart of the linear probe (metrics/probe.py) for streams of numbers. The penalty is the
best of PENALTIES by leave-one-out error on judge-train.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cabench.metrics.extractors.base import Features
from cabench.metrics.fidelity import one_thread
from cabench.metrics.probe import scaling, stack

VERSION = 1
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # of |W|^2, beside the sum of squared errors


@dataclass(frozen=True)
class Regression:
    """A fitted regression; `error_on_report` is its error on real images."""

    # fmt: off
    mean: np.ndarray        # (D,)
    scale: np.ndarray       # (D,)
    weight: np.ndarray      # (D, K)
    bias: np.ndarray        # (K,)
    error_on_report: float
    # fmt: on

    def predict(self, features: Features) -> np.ndarray:
        """(N, K): the numbers of each image."""
        with one_thread():
            return (stack(features) - self.mean) / self.scale @ self.weight + self.bias

    def error(self, features: Features, vectors: np.ndarray) -> float:
        """Root mean square of prediction minus `vectors` (N, K), in standard deviations."""
        return float(np.sqrt(np.square(self.predict(features) - vectors).mean()))

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields as arrays, for an .npz file; `load` reads them."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> Regression:
        """The regression whose `arrays()` these are."""
        fields: dict[str, Any] = dict(arrays)
        fields["error_on_report"] = float(arrays["error_on_report"])
        return cls(**fields)


def fit(
    train: Features,  # {layer: (N, D)}
    train_vectors: np.ndarray,  # (N, K)
    report: Features,
    report_vectors: np.ndarray,
) -> Regression:
    """A regression fitted to training features, with its error on the report features."""
    from sklearn.linear_model import RidgeCV

    x = stack(train)  # (N, D)
    mean, scale = scaling(x)
    with one_thread():
        model = RidgeCV(alphas=PENALTIES).fit((x - mean) / scale, train_vectors)
    weight = np.atleast_2d(np.asarray(model.coef_)).T  # (D, K)
    bias = np.atleast_1d(np.asarray(model.intercept_))  # (K,)
    fitted = Regression(mean, scale, weight, bias, float("nan"))
    return replace(fitted, error_on_report=fitted.error(report, report_vectors))
