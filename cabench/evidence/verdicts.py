"""Verdicts on a study's claims, from its own arms and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from cabench.errors import CabenchError, near
from cabench.evidence.frame import ArmCost, by_seed
from cabench.evidence.metric import study_metrics
from cabench.evidence.statistics import ALPHA, NAN, Estimate, holm, paired_difference
from cabench.records.schema import Manifest, ManifestClaim

Word = Literal["supported", "contradicted", "unresolved", "by construction", "not tested"]
Costs = Mapping[str, ArmCost]


@dataclass(frozen=True)
class Evidence:
    """What one metric, or one count, says about a claim; in stored units."""

    # fmt: off
    metric: str
    better: float              # mean over the seeds that both arms have, or a count
    than: float                # the same, of the other arm
    difference: Estimate | None = None   # better - than, paired by seed; None for a count
    # fmt: on

    @property
    def n(self) -> int:
        """Seeds that both arms have; 0 for a count."""
        return self.difference.n if self.difference else 0


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    `p` is that of the claim's test, two-sided. `p_holm`, adjusted over the claims of the same
    family that could be tested, decides. So the interval of one claim may exclude zero while the
    claim is unresolved.
    """

    # fmt: off
    claim: ManifestClaim
    word: Word
    reason: str = ""                       # why it is not tested, or rests on fewer seeds
    evidence: tuple[Evidence, ...] = ()    # one entry per metric
    p: float = NAN                         # NaN: no test
    p_holm: float = NAN
    # fmt: on

    @property
    def n(self) -> int:
        """The fewest seeds behind any of the claim's metrics."""
        return min((part.n for part in self.evidence), default=0)

    @property
    def is_tested(self) -> bool:
        return not math.isnan(self.p_holm)

    @property
    def is_count(self) -> bool:
        """Whether counting decides the claim, so that there is nothing to test."""
        return self.claim.test == "by_construction"


def judge(manifest: Manifest, frame: pd.DataFrame, costs: Costs) -> tuple[Verdict, ...]:
    """A verdict per claim, those of arms added on the command line last.

    Holm's correction is over the study's claims that could be tested. Added claims are chosen
    later, so they are a family of their own.
    """
    for claim in manifest.claims:
        _check(claim)
    verdicts: list[Verdict] = []
    for added in (False, True):
        family = [claim for claim in manifest.claims if claim.added is added]
        tested = [TESTS[claim.test](claim, manifest, frame, costs) for claim in family]
        adjusted = holm([verdict.p for verdict in tested])
        verdicts += [_after_holm(*pair) for pair in zip(tested, adjusted, strict=True)]
    return tuple(verdicts)


def on_twins(manifest: Manifest) -> Manifest:
    """The manifest with its claims on other features: every metric that has a twin becomes it.

    Left are claims whose metrics' twins are measured, and that have at least one.
    """
    twins = {name: info.twin for name, info in manifest.metrics.items() if info.twin}
    claims = []
    for claim in manifest.claims:
        names = tuple(twins.get(name, name) for name in claim.metrics)
        if names != claim.metrics and set(names) <= set(manifest.metrics):
            claims.append(claim.model_copy(update={"metric": names}))
    return manifest.model_copy(update={"claims": tuple(claims)})


def superiority(
    claim: ManifestClaim, manifest: Manifest, frame: pd.DataFrame, costs: Costs
) -> Verdict:
    """Test the claim that one arm is better than another in every metric.

    An intersection-union test: its p is the largest of the metrics' p values.
    Source: Berger 1982, "Multiparameter hypothesis testing and acceptance sampling".
    The tests are two-sided, so a claim can also be contradicted (worse in every metric).
    """
    evidence = tuple(_paired(claim, name, frame) for name in claim.metrics)
    reasons = [_untestable(claim, part, manifest, frame) for part in evidence]
    if reason := next(filter(None, reasons), ""):
        return Verdict(claim, "not tested", reason, evidence)
    metrics = study_metrics(manifest)
    differences = {part.metric: part.difference for part in evidence if part.difference}
    gains = [metrics[name].is_better(difference.mean) for name, difference in differences.items()]
    word: Word = "supported" if all(gains) else "unresolved" if any(gains) else "contradicted"
    largest = max(difference.p for difference in differences.values())
    return Verdict(claim, word, _fewer_seeds(claim, manifest, evidence), evidence, largest)


def by_construction(
    claim: ManifestClaim, manifest: Manifest, frame: pd.DataFrame, costs: Costs
) -> Verdict:
    """Check the claim that an arm has fewer MACs or parameters, or at most `ratio` times as many.

    Counts have no spread over seeds, so there is no test.
    """
    (count,) = claim.metrics
    values = {}
    for arm in (claim.better, claim.than):
        values[arm] = getattr(costs[arm], count) if arm in costs else NAN
        if math.isnan(values[arm]):
            reason = _no_trial(arm, frame) or f"arm '{arm}' has no cost"
            return Verdict(claim, "not tested", reason)
    ours, base = values[claim.better], values[claim.than]
    holds = ours < base if claim.ratio is None else ours <= base * claim.ratio
    evidence = (Evidence(count, ours, base),)
    return Verdict(claim, "by construction" if holds else "contradicted", evidence=evidence)


Test = Callable[[ManifestClaim, Manifest, pd.DataFrame, Costs], Verdict]
TESTS: dict[str, Test] = {"superiority": superiority, "by_construction": by_construction}


def _check(claim: ManifestClaim) -> None:
    if claim.test not in TESTS:
        raise CabenchError(
            f"claim '{claim.id}': test: expected {' or '.join(TESTS)}, "
            f"got '{claim.test}'{near(claim.test, TESTS)}"
        )


def _after_holm(verdict: Verdict, p_holm: float) -> Verdict:
    """The verdict once p is adjusted: a test that is not significant is unresolved."""
    tested = not math.isnan(verdict.p)
    word = "unresolved" if tested and not p_holm < ALPHA else verdict.word
    return replace(verdict, word=word, p_holm=p_holm)


def _paired(claim: ManifestClaim, metric: str, frame: pd.DataFrame) -> Evidence:
    """One metric's means and paired difference, over the seeds that both arms have."""
    ours, base = (by_seed(frame, arm, metric) for arm in (claim.better, claim.than))
    difference = paired_difference(ours, base)
    seeds = difference.values.index
    better, than = (float(values.loc[seeds].mean()) for values in (ours, base))
    return Evidence(metric, better, than, difference)


def _untestable(
    claim: ManifestClaim, part: Evidence, manifest: Manifest, frame: pd.DataFrame
) -> str:
    """Why a claim cannot be tested in one metric, or ''."""
    if part.metric not in manifest.metrics:
        return f"metric '{part.metric}' is not measured here"
    for arm in (claim.better, claim.than):
        if reason := _absent(arm, part.metric, manifest, frame):
            return reason
    if part.n < 2:
        return f"needs 2 seeds that both arms have, got {part.n}"
    if part.difference and not part.difference.is_tested:
        return "the difference is the same on every seed: no spread to test against"
    return ""


def _absent(arm: str, metric: str, manifest: Manifest, frame: pd.DataFrame) -> str:
    """Why an arm cannot take part in a claim, or ''."""
    entry = manifest.arm(arm)
    if entry is not None and entry.bound:
        return f"arm '{arm}' is a lower bound, which is not tested"
    if reason := _no_trial(arm, frame):
        return reason
    if by_seed(frame, arm, metric).empty:
        return f"arm '{arm}' has no {metric}"
    return ""


def _no_trial(arm: str, frame: pd.DataFrame) -> str:
    """Why an arm has no complete trial, or ''."""
    statuses = {
        status for name, status in zip(frame["arm"], frame["status"], strict=True) if name == arm
    }
    if not statuses:
        return f"arm '{arm}' is not run at this scale"
    if "complete" in statuses:
        return ""
    return f"arm '{arm}' failed" if "failed" in statuses else f"arm '{arm}' has not run yet"


def _fewer_seeds(claim: ManifestClaim, manifest: Manifest, evidence: tuple[Evidence, ...]) -> str:
    """A note when the verdict rests on fewer seeds than the run has, else ''."""
    arms = (claim.better, claim.than)
    planned = {trial.seed for trial in manifest.trials if trial.arm in arms}
    n = min(part.n for part in evidence)
    return f"{n} of {len(planned)} seeds" if n < len(planned) else ""
