"""The paper's claims over all studies of a results directory, tested as one family.

Every study corrects over its own claims. Whoever reads all studies together looks at more claims,
so here the claims that state one of the paper's (`paper` in a study) are corrected together; those
of our own are secondary, and keep the verdicts of their studies. So do runs at scale smoke, with
changed settings or on data of one's own. A copy of a run counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cabench.evidence.ladder import Rung
from cabench.evidence.results import Results
from cabench.evidence.verdicts import TESTS, Evidence, Verdict, in_family
from cabench.records.runs import OWN_SCALE

SMOKE = "smoke"


@dataclass(frozen=True)
class Entry:
    """A claim with the run that tests it."""

    run: str  # STUDY.SCALE
    backbone: str
    verdict: Verdict  # corrected over the ledger's family
    own: Verdict  # corrected over its study's claims
    results: Results
    sizes: tuple[Entry, ...] = ()  # claims that repeat this one, by rising training MACs

    @property
    def macs(self) -> float:
        """Training MACs of a trial of the run's baseline."""
        return Rung(self.results).macs(self.results.manifest.baseline)

    @property
    def trials(self) -> frozenset[str]:
        """The keys of the trials of the claim's arms."""
        arms = self.own.claim.arms
        return frozenset(t.key for t in self.results.manifest.trials if t.arm in arms)

    @property
    def in_every_metric(self) -> tuple[Evidence, ...]:
        """The claim's comparison in every metric of the study, those of the claim first."""
        if self.own.is_count:
            return self.own.evidence
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
    entries = _distinct(entries)
    entries = [replace(entry, sizes=_repeated(entry, entries)) for entry in entries]
    primary = [entry for entry in entries if _is_of_the_paper(entry)]
    secondary = [entry for entry in entries if not _is_of_the_paper(entry)]
    return ClaimsLedger(tuple(_corrected(primary)), tuple(secondary))


def _corrected(entries: list[Entry]) -> list[Entry]:
    """The entries with verdicts corrected over all of them."""
    manifests = [entry.results.manifest for entry in entries]
    verdicts = in_family([entry.own for entry in entries], manifests)
    return [
        replace(entry, verdict=verdict) for entry, verdict in zip(entries, verdicts, strict=True)
    ]


def _repeated(entry: Entry, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries whose claims repeat that of `entry`."""
    name = f"{entry.results.manifest.study}.{entry.own.claim.id}"
    repeats = [other for other in entries if other.own.claim.repeats == name]
    return tuple(sorted(repeats, key=lambda other: other.macs))


def _is_part_of_another(entry: Entry, entries: Iterable[Entry]) -> bool:
    """Whether another entry tests the same claim on more trials, these among them."""
    return any(
        other.own.claim.id == entry.own.claim.id and entry.trials < other.trials
        for other in entries
    )


def _distinct(entries: Iterable[Entry]) -> list[Entry]:
    """One entry per claim and set of trials, and none whose trials are part of another's."""
    once = {(entry.own.claim.id, entry.trials): entry for entry in reversed(list(entries))}
    rest = list(once.values())[::-1]
    return [entry for entry in rest if not _is_part_of_another(entry, rest)]


def _is_of_the_paper(entry: Entry) -> bool:
    """Whether an entry belongs to the family: not a smoke run, not one with changed settings."""
    manifest = entry.results.manifest
    has_own_data = Path(manifest.scale_file).name == OWN_SCALE
    is_variant = manifest.scale == SMOKE or manifest.settings or has_own_data
    return bool(entry.own.claim.paper) and not is_variant


def _order(claim: str) -> tuple[str, int, str]:
    """'C10a' after 'C2'."""
    match = re.fullmatch(r"(\D*)(\d*)(.*)", claim, re.DOTALL)
    assert match is not None
    return match[1], int(match[2] or 0), match[3]
