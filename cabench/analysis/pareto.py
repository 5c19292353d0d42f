"""The Pareto front of score and cost, for tables and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping


def pareto_front(
    costs: Mapping[str, float], scores: Mapping[str, float], higher_is_better: bool
) -> list[str]:
    """The arms that no other arm dominates, by rising cost.

    An arm dominates another where it costs no more, scores no worse, and is better in one of the
    two. So arms that are equal in both are on the front together.

    Args:
        costs: by arm; an arm whose cost or score is not finite is left out.
        scores: by arm, for all arms of `costs`.
        higher_is_better: whether a higher score is the better one.
    """
    sign = -1 if higher_is_better else 1
    points = {
        arm: (cost, sign * scores[arm])
        for arm, cost in costs.items()
        if math.isfinite(cost) and math.isfinite(scores[arm])
    }
    front = [
        arm
        for arm, point in points.items()
        if not any(_dominates(q, point) for q in points.values())
    ]
    return sorted(front, key=lambda arm: points[arm][0])


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]
