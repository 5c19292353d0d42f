"""Published statistics of real images' features: the reference files of ADM's evaluator.

`mu` (2048,) and `sigma` (2048, 2048) are mean and covariance of Inception's pooled features, as in
VIRTUAL_imagenet256_labeled.npz (https://github.com/openai/guided-diffusion/tree/main/evaluations)
and in pytorch-fid's files. `mu_s` and `sigma_s` are those of sFID, which is not computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cabench.errors import CabenchError
from cabench.metrics import fidelity
from cabench.metrics.families import INCEPTION
from cabench.registry import EXTRACTORS
from cabench.runtime.files import file_hash
from cabench.runtime.npz import read_npz

NOTE = "sFID, of mu_s and sigma_s, is not computed"


@dataclass(frozen=True)
class ReferenceStatistics:
    """Mean and covariance of real images' features."""

    # fmt: off
    path: Path
    sha256: str             # of the file
    mean: np.ndarray        # (D,) float64
    covariance: np.ndarray  # (D, D) float64
    has_sfid: bool          # whether the file has the statistics of sFID, too
    # fmt: on

    def fid(self, features: np.ndarray, least: int | None = None) -> float:
        """FID of samples' features (n, D); `least` as in `fidelity.fid`."""
        return fidelity.fid(features, (self.mean, self.covariance), least)


def read_statistics(path: Path, width: int | None = None) -> ReferenceStatistics:
    """The statistics in an .npz file, of features (n, width); default: Inception's.

    Raises CabenchError for absent arrays, other shapes or types, numbers that are not finite, and
    a matrix that is no covariance.
    """
    if width is None:
        network = EXTRACTORS.get(INCEPTION)
        width = network.widths[network.layers["fid"]]
    arrays = read_npz(path, ["mu", "sigma"], ["mu_s"])
    for name, shape in (("mu", (width,)), ("sigma", (width, width))):
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "f":
            raise CabenchError(
                f"{path}: {name}: expected floats {shape}, got {array.dtype} {array.shape}"
            )
        if not np.isfinite(array).all():
            raise CabenchError(f"{path}: {name}: expected finite numbers, got nan or inf")
    mean, covariance = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
    rounding = 1e-4 * np.abs(covariance).max()
    if (np.abs(covariance - covariance.T) > rounding).any() or (covariance.diagonal() < 0).any():
        raise CabenchError(
            f"{path}: sigma: expected a covariance (symmetric, no negative variance), got another "
            "matrix"
        )
    return ReferenceStatistics(path, file_hash(path), mean, covariance, "mu_s" in arrays)
