"""A study's metrics as its manifest describes them: label, direction, printed scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cabench.errors import CabenchError, near

SUPPORT = "heldout_loss"  # printed beside every primary metric: it supports, it is not a claim


@dataclass(frozen=True)
class Metric:
    # fmt: off
    name: str                       # key in a record's metrics
    label: str                      # as printed: "KID@2000"
    higher_is_better: bool = False
    scale: float = 1.0              # printed value = stored value x scale
    # fmt: on

    @property
    def title(self) -> str:
        """'KID x10^3 @2000 ↓': label, scale, sample count, the direction of better."""
        base, at, count = self.label.partition("@")
        parts = [base.strip(), scale_text(self.scale), at + count.strip(), self.arrow]
        return " ".join(part for part in parts if part)

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    def is_better(self, difference: float) -> bool:
        return difference > 0 if self.higher_is_better else difference < 0


def scale_text(scale: float) -> str:
    """'' for 1, '(%)' for 100, 'x10^3' for 1000, else 'x<scale>'."""
    if scale == 1:
        return ""
    if scale == 100:
        return "(%)"
    power = math.log10(scale)
    return f"x10^{round(power)}" if math.isclose(power, round(power)) else f"x{scale:g}"


def study_metrics(manifest: dict[str, Any]) -> dict[str, Metric]:
    """The manifest's metrics by name, in its order."""
    return {
        name: Metric(
            name=name,
            label=entry.get("label") or name.replace("_", " "),
            higher_is_better=bool(entry.get("higher_is_better", False)),
            scale=float(entry.get("scale") or 1.0),
        )
        for name, entry in manifest["metrics"].items()
    }


def primary_metric(manifest: dict[str, Any]) -> Metric:
    metrics = study_metrics(manifest)
    name = manifest["primary"]
    if name not in metrics:
        raise CabenchError(
            f"study '{manifest['study']}': primary metric '{name}' is not among its metrics"
            f"{near(name, metrics)}; known: {', '.join(metrics)}"
        )
    return metrics[name]
