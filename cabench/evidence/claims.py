"""The paper's claims over all studies of a results directory, tested as one family.

Every study corrects over its own claims. Whoever reads all studies together looks at more claims,
so here the claims that state one of the paper's (`paper` in a study) are corrected together; those
of our own are secondary, and keep the verdicts of their studies. So do runs at scale smoke, with
changed settings or on data of one's own. A copy of a run counts once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cabench.evidence.ladder import Rung
from cabench.evidence.results import Results
from cabench.evidence.verdicts import TESTS, Evidence, Verdict, in_family
from cabench.records.runs import OWN_SCALE
from cabench.records.schema import ManifestClaim

SMOKE = "smoke"


@dataclass(frozen=True)
class Entry:
    """A claim with the run that tests it."""

    run: str  # STUDY.SCALE
    backbone: str
    verdict: Verdict  # corrected over the ledger's family
    own: Verdict  # corrected over its study's claims
    results: Results
    sizes: tuple[Entry, ...] = ()  # tests of the claim at other sizes, by rising training MACs

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
    """The entries that test the claim of `entry` at other sizes."""
    if _is_variant(entry):
        return ()
    repeats = [other for other in entries if _repeats(other, entry)]
    return tuple(sorted(repeats, key=lambda other: other.macs))


def _repeats(entry: Entry, home: Entry) -> bool:
    """Whether an entry tests the statement of `home`, on its backbone, at another size.

    A run at the scale of `home`, or with as many training MACs, may share its trials.
    """
    study = home.results.manifest.study.removesuffix(f"-{home.backbone}")  # as its file names it
    names = {f"{name}.{home.own.claim.id}" for name in (home.results.manifest.study, study)}
    return (
        entry.own.claim.repeats in names
        and entry.backbone == home.backbone
        and _statement(entry.own.claim) == _statement(home.own.claim)
        and not _is_variant(entry)
        and entry.results.manifest.scale != home.results.manifest.scale
        and math.isfinite(entry.macs)
        and entry.macs != home.macs
    )


def _statement(claim: ManifestClaim) -> tuple[object, ...]:
    """What a claim says of its arms."""
    sides = (claim.better, claim.than, frozenset(claim.also_than), claim.relative_to)
    return (*sides, frozenset(claim.metrics), claim.test, claim.ratio)


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
    """Whether an entry belongs to the family."""
    return bool(entry.own.claim.paper) and not _is_variant(entry)


def _is_variant(entry: Entry) -> bool:
    """Whether the run is at scale smoke, has changed settings, or is on data of one's own."""
    manifest = entry.results.manifest
    has_own_data = Path(manifest.scale_file).name == OWN_SCALE
    return manifest.scale == SMOKE or bool(manifest.settings) or has_own_data


def _order(claim: str) -> tuple[str, int, str]:
    """'C10a' after 'C2'."""
    match = re.fullmatch(r"(\D*)(\d*)(.*)", claim, re.DOTALL)
    assert match is not None
    return match[1], int(match[2] or 0), match[3]
