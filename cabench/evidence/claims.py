"""The paper's claims over all studies of a results directory, tested as one family.

Every study corrects over its own claims. Whoever reads all studies together looks at more claims,
so here the claims that state one of the paper's (`paper` in a study) are corrected together; those
of our own are secondary, and keep the verdicts of their studies.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cabench.evidence.family import adjusted
from cabench.evidence.results import Results
from cabench.evidence.verdicts import TESTS, Evidence, Verdict


@dataclass(frozen=True)
class Entry:
    """A claim with the run that tests it."""

    run: str  # STUDY.SCALE
    backbone: str
    verdict: Verdict  # corrected over the ledger's family
    own: Verdict  # corrected over its study's claims
    results: Results

    @property
    def in_every_metric(self) -> tuple[Evidence, ...]:
        """The claim's comparison in every metric of the study, those of the claim first."""
        results, claim = self.results, self.own.claim
        names = tuple(dict.fromkeys((*claim.metrics, *results.metrics)))
        wider = claim.model_copy(update={"metric": names})
        return TESTS[claim.test](wider, results.manifest, results.frame, results.costs).evidence

    @property
    def lengths(self) -> list[tuple[int, Verdict]]:
        """The claim's verdicts after each length of training, corrected over its study's claims."""
        return [
            (images, next(v for v in after.verdicts if v.claim.id == self.own.claim.id))
            for images, after in self.results.by_length.items()
        ]


@dataclass(frozen=True)
class ClaimsLedger:
    """The paper's claims, and the others."""

    primary: tuple[Entry, ...]
    secondary: tuple[Entry, ...]


def claims_ledger(runs: Iterable[tuple[str, Results]]) -> ClaimsLedger:
    """The claims of all runs, given as name and results, in the order of their ids."""
    entries = [
        Entry(name, results.manifest.backbone, verdict, verdict, results)
        for name, results in runs
        for verdict in results.verdicts
        if not verdict.claim.added
    ]
    entries.sort(key=lambda entry: (*_order(entry.own.claim.id), entry.run))
    primary = [entry for entry in entries if entry.own.claim.paper]
    secondary = [entry for entry in entries if not entry.own.claim.paper]
    return ClaimsLedger(tuple(_corrected(primary)), tuple(secondary))


def _corrected(entries: list[Entry]) -> list[Entry]:
    """The entries with verdicts corrected over all of them."""
    tested = [i for i, entry in enumerate(entries) if entry.own.statements]
    family = adjusted([s for i in tested if (s := entries[i].own.statements)])
    results = list(entries)
    for i, statements in zip(tested, family, strict=True):
        own = entries[i].own
        if not math.isnan(own.p):
            verdict = replace(own, word=statements.word, p_holm=statements.smallest, needed=None)
            results[i] = replace(entries[i], verdict=verdict)
    return results


def _order(claim: str) -> tuple[str, int, str]:
    """'C10a' after 'C2'."""
    match = re.fullmatch(r"(\D*)(\d*)(.*)", claim)
    assert match is not None
    return match[1], int(match[2] or 0), match[3]
