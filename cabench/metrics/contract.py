"""What a metric's class must have, checked when a plugin registers one."""

from __future__ import annotations

from typing import Any

from cabench.errors import shown
from cabench.registry import METRICS, missing


def contract(metric: Any) -> str | None:
    """What is wrong with a registered metric, or None."""
    required = ("version", "needs", "higher_is_better", "label", "compute")
    if problem := missing(metric, required):
        return problem
    if metric.needs not in ("samples", "model"):
        return f"needs: expected 'samples' or 'model', got {shown(metric.needs)}"
    if metric.needs == "samples" and not isinstance(getattr(metric, "min_samples", None), int):
        return "min_samples: expected an integer"
    try:
        metric.label.format(n=1)
    except (AttributeError, LookupError, ValueError):
        return f"label: expected a string with no field other than {{n}}, got {shown(metric.label)}"
    return None


METRICS.contract = contract
