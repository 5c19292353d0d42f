"""Verdicts on a study's claims, from its own arms and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cabench.errors import CabenchError, near
from cabench.evidence.design import Design
from cabench.evidence.family import adjusted, open_tests
from cabench.evidence.frame import ArmCost, by_seed, statuses_of
from cabench.evidence.metric import Metric, study_metrics
from cabench.evidence.rules import NEED_MARGINS, RULES, Gain, Rule, Statements, Word
from cabench.evidence.statistics import NAN, Estimate
from cabench.evidence.stopping import MOST, is_futile, seeds_needed
from cabench.records.schema import Manifest, ManifestClaim

Costs = Mapping[str, ArmCost]


@dataclass(frozen=True)
class Evidence:
    """What one metric, or one count, says about a claim; in stored units."""

    # fmt: off
    metric: str
    better: float              # mean over the seeds that both sides have, or a count
    than: float                # the same, of the other side
    difference: Estimate | None = None   # better - than, paired by seed; None for a count
    sides: tuple[str, str] = ("", "")    # what is compared: arms, or differences of two arms
    # fmt: on

    @property
    def n(self) -> int:
        """Seeds that both arms have; 0 for a count."""
        return self.difference.n if self.difference else 0


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    `p` is that of the claim's test. `p_holm`, adjusted over the claims of the same family that
    could be tested, decides. So the interval of one claim may exclude zero while the claim is
    unresolved.
    """

    # fmt: off
    claim: ManifestClaim
    word: Word
    reason: str = ""                       # why it is not tested, or what rests on what
    evidence: tuple[Evidence, ...] = ()    # one entry per metric and rival
    p: float = NAN                         # NaN: no test
    p_holm: float = NAN
    statements: Statements | None = None
    needed: int | None = None              # seeds that would decide it as the data are; None: many
    is_futile: bool = False                # by the study's rule, further seeds are not worth it
    lacks_seeds: bool = False              # not tested so far: further seeds may change that
    tests: int = 1                         # claims of its family, which the correction is over
    # fmt: on

    @property
    def n(self) -> int:
        """The fewest seeds behind any of the claim's metrics."""
        return min((part.n for part in self.evidence), default=0)

    @property
    def nearest(self) -> str:
        """The statement that `p` is of: 'supported', 'contradicted' or 'equivalent'; '' if none."""
        return self.statements.nearest if self.statements else ""

    @property
    def is_tested(self) -> bool:
        return not math.isnan(self.p_holm)

    @property
    def is_open(self) -> bool:
        """Whether further seeds could decide it."""
        return self.is_tested and self.word == "unresolved"

    @property
    def needed_text(self) -> str:
        """The seeds that would decide it: '14', 'more than 100'."""
        return f"more than {MOST}" if self.needed is None else str(self.needed)

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
        verdicts += in_family(tested, [manifest] * len(tested))
    return tuple(verdicts)


def in_family(verdicts: Sequence[Verdict], manifests: Sequence[Manifest]) -> list[Verdict]:
    """The verdicts, each of a claim of a manifest, after the adjustment over all of them.

    Claims that lack data count, with p = 1.
    """
    counted = [i for i, verdict in enumerate(verdicts) if verdict.statements]
    before = [verdicts[i].statements or Statements(1.0, 1.0) for i in counted]
    after = adjusted(before)
    pairs = zip(before, after, strict=True)
    open_count = sum(open_tests(statements, now.made) for statements, now in pairs)
    results = list(verdicts)
    for i, statements in zip(counted, after, strict=True):
        if not math.isnan(verdicts[i].p):
            verdict = replace(
                verdicts[i],
                word=statements.word,
                p_holm=statements.smallest,
                tests=len(counted),
            )
            results[i] = _with_prospect(verdict, manifests[i], open_count / 2)
    return results


def on_twins(manifest: Manifest) -> Manifest:
    """The manifest with its claims on other features: every metric that has a twin becomes it.

    Left are claims whose metrics' twins are measured, and that have at least one. Margins are
    stated for the metrics themselves, so claims that need them are left out.
    """
    twins = {name: info.twin for name, info in manifest.metrics.items() if info.twin}
    claims = []
    for claim in manifest.claims:
        names = tuple(twins.get(name, name) for name in claim.metrics)
        measured = names != claim.metrics and set(names) <= set(manifest.metrics)
        if measured and claim.test not in NEED_MARGINS:
            claims.append(claim.model_copy(update={"metric": names}))
    return manifest.model_copy(update={"claims": tuple(claims)})


def on_metric(manifest: Manifest, name: str) -> Manifest:
    """The manifest with its claims about one metric alone, whatever they are about.

    Margins are stated for a claim's own metrics, so claims that need them are left out, and so are
    counts.
    """
    claims = [
        claim.model_copy(update={"metric": (name,)})
        for claim in manifest.claims
        if claim.test in RULES and claim.test not in NEED_MARGINS
    ]
    return manifest.model_copy(update={"claims": tuple(claims), "margins": {}})


# ---- tests of paired differences ----------------------------------------------------------------


Test = Callable[[ManifestClaim, Manifest, pd.DataFrame, Costs], Verdict]


def _paired(rule: Rule) -> Test:
    """The test of a claim about paired differences by one of the rules above."""

    def test(
        claim: ManifestClaim, manifest: Manifest, frame: pd.DataFrame, costs: Costs
    ) -> Verdict:
        design = Design.of(manifest)
        evidence = tuple(
            _evidence(claim, name, rival, frame, design)
            for name in claim.metrics
            for rival in claim.rivals
        )
        if reason := _excluded(claim, manifest, frame):
            return Verdict(claim, "not tested", reason, evidence)
        no_evidence = Statements(1.0, 1.0)
        if reason := _failed(claim, manifest, frame):
            return Verdict(claim, "not tested", reason, evidence, statements=no_evidence)
        if reason := next(filter(None, map(_too_little, evidence)), ""):
            return Verdict(
                claim, "not tested", reason, evidence, statements=no_evidence, lacks_seeds=True
            )
        statements = rule(
            gains(evidence, manifest),
            lambda gain, sign, bound: design.p_above(sign * gain.values, bound),
        )
        reason = _fewer_seeds(claim, manifest, evidence)
        return Verdict(claim, "unresolved", reason, evidence, p=statements.p, statements=statements)

    return test


def gains(evidence: Sequence[Evidence], manifest: Manifest) -> list[Gain]:
    """The differences of each part, positive where the claim holds."""
    metrics: dict[str, Metric] = study_metrics(manifest)
    return [
        Gain(
            (1 if metrics[part.metric].higher_is_better else -1) * part.difference.values,
            manifest.margins.get(part.metric, NAN),
        )
        for part in evidence
        if part.difference
    ]


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
    evidence = (Evidence(count, ours, base, sides=(claim.better, claim.than)),)
    return Verdict(claim, "by construction" if holds else "contradicted", evidence=evidence)


TESTS: dict[str, Test] = {
    **{name: _paired(rule) for name, rule in RULES.items()},
    "by_construction": by_construction,
}


def _check(claim: ManifestClaim) -> None:
    if claim.test not in TESTS:
        raise CabenchError(
            f"claim '{claim.id}': test: expected {' or '.join(TESTS)}, "
            f"got '{claim.test}'{near(claim.test, TESTS)}"
        )


def _with_prospect(verdict: Verdict, manifest: Manifest, factor: float) -> Verdict:
    """The verdict, if open, with the seeds that it would need; `factor` multiplies its p.

    To add seeds makes a design sequential.
    """
    if not verdict.is_open:
        return verdict
    design = replace(Design.of(manifest), sequential=True)
    parts, test = gains(verdict.evidence, manifest), verdict.claim.test
    return replace(
        verdict,
        needed=seeds_needed(test, parts, design, factor),
        is_futile=is_futile(test, parts, design, factor, manifest.design),
    )


def _evidence(
    claim: ManifestClaim, metric: str, rival: str, frame: pd.DataFrame, design: Design
) -> Evidence:
    """One metric's means and paired difference, over the seeds that both sides have."""
    ours, base = (by_seed(frame, arm, metric) for arm in (claim.better, rival))
    sides = claim.better, rival
    if claim.relative_to is not None:
        first, second = (by_seed(frame, arm, metric) for arm in claim.relative_to)
        ours, base = (ours - first).dropna(), (base - second).dropna()
        sides = (
            f"({claim.better} - {claim.relative_to[0]})",
            f"({rival} - {claim.relative_to[1]})",
        )
    difference = design.difference(ours, base)
    seeds = difference.values.index
    better, than = (float(values.loc[seeds].mean()) for values in (ours, base))
    return Evidence(metric, better, than, difference, sides)


def _excluded(claim: ManifestClaim, manifest: Manifest, frame: pd.DataFrame) -> str:
    """Why this run cannot test a claim, whatever its trials say, or ''."""
    for metric in claim.metrics:
        if metric not in manifest.metrics:
            return f"metric '{metric}' is not measured here"
        if claim.test in NEED_MARGINS and metric not in manifest.margins:
            return f"no margin is stated for '{metric}'"
    for arm in claim.arms:
        entry = manifest.arm(arm)
        if entry is not None and entry.bound:
            return f"arm '{arm}' is a lower bound, which is not tested"
        if arm not in frame["arm"].to_numpy():
            return f"arm '{arm}' is not part of this run"
    if manifest.design.left_out:
        seeds = ", ".join(map(str, manifest.design.left_out))
        return f"seeds {seeds} of an earlier run are left out"
    return ""


def _failed(claim: ManifestClaim, manifest: Manifest, frame: pd.DataFrame) -> str:
    """Why an arm's trials leave a claim without a test, or ''.

    To leave out the seeds that failed would be to leave out an arm's worst. Seeds that the claim's
    arms do not share play no part.
    """
    shared = common_seeds(claim, manifest)
    for arm in claim.arms:
        if reason := _no_trial(arm, frame):
            return reason
        for metric in claim.metrics:
            if by_seed(frame, arm, metric).empty:
                return f"arm '{arm}' has no {metric}"
        statuses = statuses_of(frame, arm)
        if failed := sorted(seed for seed in shared if statuses.get(seed) == "failed"):
            seeds = "seed" if len(failed) == 1 else "seeds"
            return f"arm '{arm}' failed at {seeds} {', '.join(map(str, failed))}"
    return ""


def _too_little(part: Evidence) -> str:
    """Why a metric's differences cannot be tested yet, or ''."""
    if part.n < 2:
        return f"needs 2 seeds that both arms have, got {part.n}"
    if part.difference and not part.difference.is_tested:
        return "the difference is the same on every seed: no spread to test against"
    return ""


def common_seeds(claim: ManifestClaim, manifest: Manifest) -> set[int]:
    """The seeds that all arms of a claim have in the run's plan."""
    return set.intersection(
        *({t.seed for t in manifest.trials if t.arm == arm} for arm in claim.arms)
    )


def _no_trial(arm: str, frame: pd.DataFrame) -> str:
    """Why an arm has no complete trial, or ''."""
    statuses = set(statuses_of(frame, arm).values())
    if not statuses:
        return f"arm '{arm}' is not part of this run"
    if "complete" in statuses:
        return ""
    return f"arm '{arm}' failed" if "failed" in statuses else f"arm '{arm}' has not run yet"


def _fewer_seeds(claim: ManifestClaim, manifest: Manifest, evidence: tuple[Evidence, ...]) -> str:
    """A note when the verdict rests on fewer seeds than its arms should share, else ''."""
    common = common_seeds(claim, manifest)
    n = min(part.n for part in evidence)
    return f"{n} of {len(common)} seeds" if n < len(common) else ""
