"""How a study's metrics are printed: label, scale, and which direction is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cabench.errors import CabenchError, near
from cabench.records.schema import Manifest

SUPPORT = "heldout_loss"  # printed beside every primary metric: it supports, it is not a claim


@dataclass(frozen=True)
class Metric:
    """How a metric is printed and which direction is better."""

    # fmt: off
    name: str                       # key in a record's metrics
    label: str                      # as printed: "KID@2000"
    higher_is_better: bool = False
    scale: float = 1.0              # printed value = stored value x scale
    # fmt: on

    @property
    def title(self) -> str:
        """'KID x10^3 @2000 ↓': name, scale, sample count and the better direction."""
        return f"{self.title_without_arrow} {'↑' if self.higher_is_better else '↓'}"

    @property
    def title_without_arrow(self) -> str:
        base, at, count = self.label.partition("@")
        parts = [base.strip(), scale_text(self.scale), at + count.strip()]
        return " ".join(part for part in parts if part)

    def is_better(self, difference: float) -> bool:
        """Whether an arm whose value differs by `difference` is better."""
        return difference > 0 if self.higher_is_better else difference < 0


def scale_text(scale: float) -> str:
    """'' for 1, '(%)' for 100, 'x10^3' for 1000, else 'x<scale>'."""
    if scale == 1:
        return ""
    if scale == 100:
        return "(%)"
    power = math.log10(scale)
    return f"x10^{round(power)}" if math.isclose(power, round(power)) else f"x{scale:g}"


def study_metrics(manifest: Manifest) -> dict[str, Metric]:
    """The study's metrics by name, in the manifest's order."""
    return {
        name: Metric(
            name=name,
            label=info.label or name.replace("_", " "),
            higher_is_better=info.higher_is_better,
            scale=info.scale,
        )
        for name, info in manifest.metrics.items()
    }


def primary_metric(manifest: Manifest) -> Metric:
    """The metric that the study's arms are ranked by."""
    metrics = study_metrics(manifest)
    name = manifest.primary
    if name not in metrics:
        raise CabenchError(
            f"study '{manifest.study}': expected the primary metric to be one of "
            f"{', '.join(metrics)}, got '{name}'{near(name, metrics)}"
        )
    return metrics[name]
