"""Notes on intervals that cover for all arms, or all claims, at once."""

from __future__ import annotations

from collections.abc import Sequence

from cabench.analysis.summary import verdict_word
from cabench.analysis.verdict_text import DIRECTED
from cabench.errors import listed
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.statistics import Estimate
from cabench.evidence.verdicts import Verdict


def claims_interval_note(results: Results) -> str:
    """What the intervals of the claims cover; '' where none is tested."""
    tests = max((v.tests for v in results.verdicts if v.is_tested), default=0)
    if not tests:
        return ""
    claims = f"all {tests} claims at once (Bonferroni)" if tests > 1 else "the one tested claim"
    text = f"[ ]: 95 % intervals of the difference, for {claims}; p after Holm's correction."
    decided = [v.claim.id for v in results.verdicts if _beside_zero(v, results)]
    return f"{text} {finer_text(decided, results)}".strip()


def _beside_zero(verdict: Verdict, results: Results) -> bool:
    """Whether a direction is decided beside an interval that includes zero."""
    design = Design.of(results.manifest)
    return verdict.word.startswith(("supported", "contradicted")) and any(
        not excludes_zero(design.jointly(part.difference, verdict.tests))
        for part in verdict.evidence
        if part.difference and verdict.claim.test in DIRECTED
    )


def finer_text(names: Sequence[str], results: Results) -> str:
    """Why these are decided though an interval includes zero; '' of none."""
    if not names:
        return ""
    looks = (
        ", and it counts the strongest look so far" if results.manifest.design.sequential else ""
    )
    return (
        f"{listed(names)}: decided though an interval includes 0, as the test is finer: its "
        f"correction goes step by step (Holm){looks}."
    )


def table_interval_note(results: Results) -> str:
    """What the intervals of the primary metric's differences cover, and where the test is finer."""
    metric = results.primary
    rows = [row for row in results.compare_arms([metric.name]) if row.difference.n > 1]
    tests = max((row.tests for row in rows), default=0)
    if tests < 2:
        return ""
    design = Design.of(results.manifest)
    finer = [
        row.arm
        for row in rows
        if verdict_word(row, metric)
        and not excludes_zero(design.jointly(row.difference, row.tests))
    ]
    text = (
        f"[ ] of diff. {metric.title_without_arrow}: 95 % intervals for all {tests} differences at "
        "once (Bonferroni), as 'better' and 'worse' are corrected over them; none where seeds are "
        "too few. Each arm's own 95 % interval is in the CSV file and the forest plot's thick bars."
    )
    return f"{text} {finer_text(finer, results)}".strip()


def excludes_zero(difference: Estimate) -> bool:
    """Whether it has an interval, and one that does not include zero."""
    return difference.has_interval and not difference.low <= 0 <= difference.high
