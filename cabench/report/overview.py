"""The overview of a results directory: a ledger of the paper's claims, then a page per claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cabench.analysis import figures
from cabench.analysis.footnotes import protocol_note
from cabench.analysis.formatting import p_text, power_text
from cabench.analysis.tables import NOT_TESTED, markdown
from cabench.analysis.verdict_text import evidence_text, measured, remark, verdict_words
from cabench.errors import CabenchError, plural
from cabench.evidence.claims import ClaimsLedger, Entry, claims_ledger
from cabench.evidence.design import Design
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Verdict
from cabench.records.runs import Run
from cabench.records.spec import Json
from cabench.report.document import breakable, evidence, typeset
from cabench.report.typeset import compile_template
from cabench.runtime.files import atomic_path
from cabench.version import __version__

STEM = "overview"
SECONDARY = (
    "Verdicts and intervals are corrected over the claims of their study; these are not part of "
    "the family above."
)
LEDGER = (
    "These claims are tested as one family (Holm's correction), so that a verdict can be weaker "
    "than in its study's report. As stated: the paper's claim in FID and CLIP score, at its scale. "
    "Here: the comparison named, at the scale named. The intervals cover for all claims of the "
    "family at once (Bonferroni). Over size: the same comparison in other studies, by the "
    "baseline's training MACs; these verdicts are corrected over the claims of their own run alone."
)


def write_overview(runs: Sequence[Run], out: Path) -> list[Path]:
    """Write overview.pdf and overview.md for the runs of a results directory."""
    named = [(run.name, Results.of(run)) for run in runs]
    ledger = claims_ledger((name, results) for name, results in named if results.records)
    if not (ledger.primary or ledger.secondary):
        raise CabenchError("no run with claims and records; start one with `cabench run STUDY`")
    pdf, text = out / f"{STEM}.pdf", out / f"{STEM}.md"
    with atomic_path(pdf) as part:
        part.write_bytes(overview_pdf(named, ledger))
    with atomic_path(text) as part:
        part.write_text(overview_markdown(ledger), encoding="utf-8")
    return [pdf, text]


def overview_pdf(named: Sequence[tuple[str, Results]], ledger: ClaimsLedger) -> bytes:
    """The PDF: equal bytes for equal manifests and records."""

    def draw(folder: Path) -> Json:
        return {
            "version": __version__,
            "note": LEDGER,
            "runs": [_run(name, results) for name, results in named],
            "primary": [_row(entry) for entry in ledger.primary],
            "secondary_note": SECONDARY,
            "secondary": [_row(entry) for entry in ledger.secondary],
            "pages": [_page(i, entry, folder) for i, entry in enumerate(ledger.primary)],
        }

    return compile_template("overview.typ", draw)


def _run(name: str, results: Results) -> Json:
    complete = len(results.complete())
    seeds = plural(len(results.manifest.seeds), "seed")
    return {
        "name": name,
        "question": breakable(results.manifest.question),
        "size": f"{plural(len(results.arms), 'arm')}, {seeds}, {plural(complete, 'trial')}",
    }


def _row(entry: Entry) -> Json:
    verdict = entry.verdict
    metrics = entry.results.metrics
    return {
        "id": verdict.claim.id,
        "paper": breakable(verdict.claim.paper),
        "says": breakable(verdict.claim.says),
        "run": breakable(f"{entry.run}, {entry.backbone}"),
        "n": str(verdict.n) if verdict.n else "–",
        "word": verdict.word,
        "p": f"{p_text(verdict.p_holm)} after Holm" if verdict.is_tested else "",
        "words": verdict_words(verdict, metrics),
        "evidence": evidence(verdict, metrics, Design.of(entry.results.manifest)),
        "reason": breakable(verdict.reason),
        "lengths": [
            {"images": f"{images:,}", "word": after.word} for images, after in entry.lengths
        ],
        "sizes": [breakable(text) for text in _sizes(entry)],
    }


def _size(entry: Entry) -> str:
    """A run's scale and the training MACs of its baseline."""
    return f"{entry.results.manifest.scale}, {power_text(entry.macs)} MACs"


def _sizes(entry: Entry) -> list[str]:
    """'S1 of size_ladder.size-3, 1.7 × 10¹³ MACs: supported': a claim's tests at other sizes."""
    return [
        f"{other.own.claim.id} of {other.run}, {power_text(other.macs)} MACs: {other.own.word}"
        for other in entry.sizes
    ]


def _page(index: int, entry: Entry, folder: Path) -> Json:
    """A claim's page: its row, its figure, its verdicts over length, its protocol."""
    name = f"claim{index}"
    drawn = bool(figures.claim(folder / name, entry, figures.PAGE))
    return _row(entry) | {
        "figure": name if drawn else "",
        "in_study": f"{entry.own.word} after the correction over its study's claims",
        "remark": breakable(typeset(remark(entry.own))),
        "over_length": [
            {"images": f"{images:,}", "word": after.word, "effect": _effects(after, entry)}
            for images, after in entry.lengths
        ],
        "over_size": [
            {
                "size": _size(other),
                "says": breakable(f"{other.own.claim.id}: {other.own.claim.says}"),
                "effect": _effects(other.own, other),
                "word": other.own.word,
            }
            for other in entry.sizes
        ],
        "protocol": breakable(protocol_note(entry.results)),
        "caveat": breakable(entry.results.manifest.caveat),
        "command": f"cabench report {entry.run}",
    }


def _effects(verdict: Verdict, entry: Entry) -> str:
    metrics = entry.results.metrics
    parts = [
        f"{metric.title} {effect.mean:+.3g}" for _, metric, effect in measured(verdict, metrics)
    ]
    return typeset("; ".join(parts))


# ---- Markdown ----------------------------------------------------------------------------------


def overview_markdown(ledger: ClaimsLedger) -> str:
    """The ledger as Markdown."""
    lines = ["# Claims of the paper", "", LEDGER, "", *_table(ledger.primary)]
    if ledger.secondary:
        text = "Comparisons of our own, corrected over the claims of their study."
        lines += ["", "# Further claims", "", text, "", *_table(ledger.secondary)]
    return "\n".join(lines) + "\n"


def _table(entries: Sequence[Entry]) -> list[str]:
    lines = [
        "| id | the paper says | as stated | compared here | run | here | over size | evidence |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        claim = entry.own.claim
        shown = evidence_text(entry.verdict, entry.results.metrics)
        stated = NOT_TESTED if claim.paper else ""
        sizes, here = "; ".join(_sizes(entry)), entry.verdict.word
        cells = [claim.id, claim.paper, stated, claim.says, entry.run, here, sizes, shown]
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
    return lines
