"""The ledger: a claim is supported, contradicted, unresolved, by construction, or not tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cabench.errors import CabenchError, near
from cabench.evidence.frame import by_seed, costs, is_bound, tidy
from cabench.evidence.metric import study_metrics
from cabench.evidence.statistics import ALPHA, NAN, holm, paired_difference

COLUMNS = (
    "id says paper added verdict reason better than metric test ratio n diff low high p p_holm "
    "parts"
).split()


@dataclass(frozen=True)
class Tried:
    """A claim before Holm."""

    parts: list[dict[str, Any]] = field(default_factory=list)  # what was found, by metric
    # fmt: off
    reason: str = ""    # why it can't be judged
    verdict: str = ""   # of a fact; of a test, if it turns out significant
    p: float = NAN      # NaN: no test
    # fmt: on


def judge(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per claim, those added on the command line last: verdict, reason, what was found.

    `parts` has a dict per metric: metric, better and than (means over the seeds that both arms
    have, or counts), and where seeds decide n, diff, low, high, p. Values as stored; n is the
    fewest seeds, diff, low and high are the part's where there is only one. `p` is the paired t
    test's, two-sided; `p_holm`, adjusted over those of the study's claims that could be tested,
    decides; added claims, which are chosen later, are a family of their own. So an interval may
    exclude zero, being of one claim alone, and the claim yet be unresolved.
    """
    claims = manifest.get("claims") or []
    for claim in claims:
        _check(claim)
    frame, counts = tidy(manifest, records), costs(manifest, records).set_index("arm")
    rows = []
    for added in (False, True):
        family = [claim for claim in claims if bool(claim.get("added")) is added]
        tried = [TESTS[claim["test"]](claim, manifest, frame, counts) for claim in family]
        adjusted = holm([found.p for found in tried])
        rows += [_row(*each) for each in zip(family, tried, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS)


def superiority(
    claim: dict[str, Any], manifest: dict[str, Any], frame: pd.DataFrame, counts: pd.DataFrame
) -> Tried:
    """Better in every metric: an intersection-union test, whose p is the largest of theirs.

    Berger 1982, "Multiparameter hypothesis testing and acceptance sampling". Two-sided, so that a
    claim may be contradicted too (worse in every metric).
    """
    metrics = study_metrics(manifest)
    parts, reasons = [], []
    for name in metric_names(claim):
        part, reason = _paired(claim, name, manifest, frame)
        parts.append(part)
        reasons.append(reason)
    reason = next((reason for reason in reasons if reason), "")
    if reason:
        return Tried(parts, reason)
    gains = [metrics[part["metric"]].is_better(part["diff"]) for part in parts]
    verdict = "supported" if all(gains) else "unresolved" if any(gains) else "contradicted"
    return Tried(parts, _shortfall(claim, manifest, parts), verdict, max(p["p"] for p in parts))


def by_construction(
    claim: dict[str, Any], manifest: dict[str, Any], frame: pd.DataFrame, counts: pd.DataFrame
) -> Tried:
    """Fewer MACs or parameters, or at most `ratio` times as many: counted, nothing to test."""
    part = {"metric": claim["metric"]}
    for side in ("better", "than"):
        part[side] = counts[claim["metric"]].get(claim[side], NAN)
        if part[side] != part[side]:
            return Tried(reason=_no_trial(claim[side], frame) or f"no counts of '{claim[side]}'")
    ratio = claim.get("ratio")
    limit = part["than"] * (1 if ratio is None else ratio)
    holds = part["better"] < limit or (ratio is not None and part["better"] == limit)
    return Tried([part], verdict="by construction" if holds else "contradicted")


Test = Callable[[dict[str, Any], dict[str, Any], pd.DataFrame, pd.DataFrame], Tried]
TESTS: dict[str, Test] = {"superiority": superiority, "by_construction": by_construction}


def metric_names(claim: dict[str, Any]) -> list[str]:
    found = claim["metric"]
    return [found] if isinstance(found, str) else list(found)


def _check(claim: dict[str, Any]) -> None:
    kind = claim.get("test")
    if kind not in TESTS:
        raise CabenchError(
            f"claim '{claim.get('id')}': unknown test '{kind}'{near(str(kind), TESTS)}; "
            f"allowed: {', '.join(sorted(TESTS, reverse=True))}"
        )


def _row(claim: dict[str, Any], tried: Tried, p_holm: float) -> dict[str, Any]:
    verdict = tried.verdict
    if not verdict:
        verdict = "not tested"
    elif tried.p == tried.p and not p_holm < ALPHA:
        verdict = "unresolved"
    names = {k: claim.get(k) or "" for k in ("id", "says", "paper", "better", "than", "test")}
    one = tried.parts[0] if len(tried.parts) == 1 else {}
    return names | {
        "metric": claim["metric"],
        "ratio": claim.get("ratio"),
        "added": bool(claim.get("added")),
        "verdict": verdict,
        "reason": tried.reason,
        "parts": tried.parts,
        "n": min((part.get("n", 0) for part in tried.parts), default=0),
        "diff": one.get("diff", NAN),
        "low": one.get("low", NAN),
        "high": one.get("high", NAN),
        "p": tried.p,
        "p_holm": p_holm,
    }


def _paired(
    claim: dict[str, Any], metric: str, manifest: dict[str, Any], frame: pd.DataFrame
) -> tuple[dict[str, Any], str]:
    """One metric's paired difference, and why it can't be judged ('' when it can)."""
    ours, base = (by_seed(frame, claim[side], metric) for side in ("better", "than"))
    found = paired_difference(ours, base)
    seeds = found.values.index
    part = {
        "metric": metric,
        "better": float(ours.loc[seeds].mean()),
        "than": float(base.loc[seeds].mean()),
        "n": found.n,
        "diff": found.mean,
        "low": found.low,
        "high": found.high,
        "p": found.p,
    }
    if metric not in manifest["metrics"]:
        return part, f"metric '{metric}' is not measured here"
    for side in ("better", "than"):
        if reason := _absent(claim[side], metric, manifest, frame):
            return part, reason
    if found.n < 2:
        return part, f"needs 2 seeds that both arms have, found {found.n}"
    if found.p != found.p:
        return part, "the difference is the same on every seed: no spread to test against"
    return part, ""


def _absent(arm: str, metric: str, manifest: dict[str, Any], frame: pd.DataFrame) -> str:
    """Why an arm can't take part in a claim, or ''."""
    if is_bound(manifest, arm):
        return f"arm '{arm}' is a bound, not a contestant"
    if reason := _no_trial(arm, frame):
        return reason
    if by_seed(frame, arm, metric).empty:
        return f"arm '{arm}' has no {metric}"
    return ""


def _no_trial(arm: str, frame: pd.DataFrame) -> str:
    """Why an arm has no finished trial, or ''."""
    rows = frame[frame["arm"] == arm]
    if rows.empty:
        return f"arm '{arm}' is not run at this scale"
    if not (rows["status"] == "complete").any():
        failed = (rows["status"] == "failed").any()
        return f"arm '{arm}' failed" if failed else f"arm '{arm}' has not run yet"
    return ""


def _shortfall(claim: dict[str, Any], manifest: dict[str, Any], parts: list[dict]) -> str:
    """A note when the verdict rests on fewer seeds than were asked for."""
    sides = (claim["better"], claim["than"])
    asked = {trial["seed"] for trial in manifest["trials"] if trial["arm"] in sides}
    n = min(part["n"] for part in parts)
    return f"{n} of {len(asked)} seeds" if n < len(asked) else ""
