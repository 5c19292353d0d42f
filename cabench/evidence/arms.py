"""Every arm beside the baseline: its mean, its paired difference, and a test of that difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cabench.evidence.design import Design
from cabench.evidence.frame import NO_VALUES, all_by_seed
from cabench.evidence.statistics import (
    NAN,
    NOTHING,
    Estimate,
    holm_by_family,
)
from cabench.records.schema import Manifest, ManifestArm

Role = Literal["arm", "baseline", "bound"]


@dataclass(frozen=True)
class ArmResult:
    """One arm's result in one metric, in stored units."""

    # fmt: off
    arm: str
    role: Role
    metric: str
    level: Estimate        # mean and interval over the arm's seeds
    difference: Estimate   # to the baseline, paired by seed; of the baseline itself n = 0
    p: float               # of the difference; NaN for the baseline and for lower bounds
    p_holm: float          # after Holm over the arms
    tests: int             # of its family in this metric: the arms that Holm's correction is over
    # fmt: on

    @property
    def is_baseline(self) -> bool:
        return self.role == "baseline"


def compare_arms(
    manifest: Manifest, frame: pd.DataFrame, metrics: Sequence[str]
) -> list[ArmResult]:
    """An ArmResult per metric and arm: metrics in the given order, arms in the study's order.

    p values are adjusted over the arms, within a metric. Arms that were added on the command line
    are a family of their own, so that an added arm changes none of the study's verdicts. Lower
    bounds are not tested, nor arms with a failed seed (or a baseline with one).
    """
    return [row for metric in metrics for row in _of_metric(manifest, frame, metric)]


def _of_metric(manifest: Manifest, frame: pd.DataFrame, metric: str) -> list[ArmResult]:
    failed = set(frame.loc[frame["status"] == "failed", "arm"])
    frame = frame.loc[(frame["metric"] == metric).to_numpy()]
    arms = manifest.run_arms
    scores = all_by_seed(frame)
    base = scores.get((manifest.baseline, metric), NO_VALUES)
    roles = [_role(arm, manifest) for arm in arms]
    pairs = list(zip(roles, arms, strict=True))
    values = [scores.get((arm.name, metric), NO_VALUES) for arm in arms]
    design = Design.of(manifest)
    differences = [
        NOTHING if role == "baseline" else design.difference(ours, base)
        for ours, role in zip(values, roles, strict=True)
    ]
    tested = [role == "arm" and not {arm.name, manifest.baseline} & failed for role, arm in pairs]
    ps = [d.p if test else NAN for d, test in zip(differences, tested, strict=True)]
    added = [arm.added for arm in arms]
    tests = {family: _tests(ps, added, family) for family in (False, True)}
    adjusted = holm_by_family(ps, added)
    return [
        ArmResult(
            arm.name, role, metric, design.level(ours), difference, p, p_holm, tests[arm.added]
        )
        for arm, role, ours, difference, p, p_holm in zip(
            arms, roles, values, differences, ps, adjusted, strict=True
        )
    ]


def _tests(ps: Sequence[float], added: Sequence[bool], family: bool) -> int:
    return sum(not math.isnan(p) and of is family for p, of in zip(ps, added, strict=True))


def _role(arm: ManifestArm, manifest: Manifest) -> Role:
    if arm.name == manifest.baseline:
        return "baseline"
    return "bound" if arm.bound else "arm"
