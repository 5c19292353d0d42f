"""The statements of a family of claims, adjusted so that the family errs at most at the level.

Holm's method counts hypotheses. A claim can make two statements, "better" and "within the margin",
so here the one-sided tests are counted that can still err: two of a claim that is open (its mean
may be zero), one once its direction is shown and its margin is not, none when both are. Each
smallest p value is compared with level / count, then counts fall. Without margins this is Holm's
method on two-sided p values.

Source: Goeman and Solari 2010, "The sequential rejection principle of familywise error control".
The condition to be checked: where all true statements are made, the false ones that can be made are
at most `count`. A mean of zero allows two (either direction), one beyond a margin only "within the
margin" (its false direction is contained in that), one between only the false direction, which is
not stated once the true one is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cabench.evidence.rules import Statements

OPPOSITE = {"supported": "contradicted", "contradicted": "supported"}


def adjusted(family: Sequence[Statements]) -> list[Statements]:
    """The statements with adjusted one-sided p values: one is made where its p is below the level.

    A statement that is not tested, NaN, stays so; one that a contrary statement rules out has 1.
    """
    left = {
        (i, name): p
        for i, statements in enumerate(family)
        for name, p in vars(statements).items()
        if not math.isnan(p)
    }
    made: list[set[str]] = [set() for _ in family]
    results = list(family)
    largest = 0.0
    while left:
        (i, name), p = min(left.items(), key=lambda item: item[1])
        count = sum(open_tests(*pair) for pair in zip(family, made, strict=True))
        largest = max(largest, min(1.0, p * count))
        results[i] = replace(results[i], **{name: largest})
        made[i].add(name)
        del left[i, name]
        if left.pop((i, OPPOSITE.get(name, "")), None) is not None:
            results[i] = replace(results[i], **{OPPOSITE[name]: 1.0})
    return results


def open_tests(statements: Statements, made: set[str]) -> int:
    """How many one-sided tests of a claim can still err, given the statements made."""
    if not made & OPPOSITE.keys():
        return 2
    return 0 if math.isnan(statements.equivalent) or "equivalent" in made else 1
