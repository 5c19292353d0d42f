"""The ledger: each claim is supported, contradicted, unresolved, or not tested (and why)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cabench.analysis.frame import by_seed, is_bound, tidy
from cabench.analysis.labels import Metric, study_metrics
from cabench.analysis.statistics import ALPHA, Estimate, holm, paired_difference
from cabench.errors import CabenchError
from cabench.registry import near

COLUMNS = "id says verdict reason better than metric test n diff low high p p_holm".split()


def superiority(p: float, difference: float, metric: Metric) -> str:
    """Two-sided, so that a claim may be contradicted too: Holm's p decides, the sign says how."""
    if not p < ALPHA:
        return "unresolved"
    return "supported" if metric.is_better(difference) else "contradicted"


TESTS = {"superiority": superiority}


def judge(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per claim: verdict, reason, paired difference better - than, its 95 % interval.

    Values as stored. `p` is the paired t test's, two-sided; `p_holm`, adjusted over those of the
    study's claims that could be tested, decides. So an interval may exclude zero, being of one
    claim alone, and the claim yet be unresolved.
    """
    frame = tidy(manifest, records)
    metrics = study_metrics(manifest)
    claims = manifest.get("claims") or []
    for claim in claims:
        _check(claim)
    tried = [_try(claim, manifest, frame) for claim in claims]
    adjusted = holm([found.p if not reason else float("nan") for found, reason in tried])
    rows = []
    for claim, (found, reason), p_holm in zip(claims, tried, adjusted, strict=True):
        if reason:
            verdict = "not tested"
        else:
            verdict = TESTS[claim["test"]](p_holm, found.mean, metrics[claim["metric"]])
            reason = _shortfall(claim, manifest, found)
        names = {k: claim.get(k, "") for k in ("id", "says", "better", "than", "metric", "test")}
        rows.append(
            names
            | {"verdict": verdict, "reason": reason, "n": found.n, "diff": found.mean}
            | {"low": found.low, "high": found.high, "p": found.p, "p_holm": p_holm}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _check(claim: dict[str, Any]) -> None:
    kind = claim.get("test")
    if kind not in TESTS:
        raise CabenchError(
            f"claim '{claim.get('id')}': unknown test '{kind}'{near(str(kind), TESTS)}; "
            f"allowed: {', '.join(sorted(TESTS))}"
        )


def _try(
    claim: dict[str, Any], manifest: dict[str, Any], frame: pd.DataFrame
) -> tuple[Estimate, str]:
    """The paired difference, and why it can't be judged ('' when it can)."""
    ours, base = (by_seed(frame, claim[side], claim["metric"]) for side in ("better", "than"))
    found = paired_difference(ours, base)
    if claim["metric"] not in manifest["metrics"]:
        return found, f"metric '{claim['metric']}' is not measured here"
    for side in ("better", "than"):
        if reason := _absent(claim[side], claim["metric"], manifest, frame):
            return found, reason
    if found.n < 2:
        return found, f"needs 2 seeds that both arms have, found {found.n}"
    if found.p != found.p:
        return found, "the difference is the same on every seed: no spread to test against"
    return found, ""


def _absent(arm: str, metric: str, manifest: dict[str, Any], frame: pd.DataFrame) -> str:
    """Why an arm can't take part in a claim, or ''."""
    if is_bound(manifest, arm):
        return f"arm '{arm}' is a bound, not a contestant"
    rows = frame[frame["arm"] == arm]
    if rows.empty:
        return f"arm '{arm}' is not run at this scale"
    if not (rows["status"] == "complete").any():
        failed = (rows["status"] == "failed").any()
        return f"arm '{arm}' failed" if failed else f"arm '{arm}' has not run yet"
    if by_seed(frame, arm, metric).empty:
        return f"arm '{arm}' has no {metric}"
    return ""


def _shortfall(claim: dict[str, Any], manifest: dict[str, Any], found: Estimate) -> str:
    """A note when the verdict rests on fewer seeds than were asked for."""
    sides = (claim["better"], claim["than"])
    asked = {trial["seed"] for trial in manifest["trials"] if trial["arm"] in sides}
    return f"{found.n} of {len(asked)} seeds" if found.n < len(asked) else ""
