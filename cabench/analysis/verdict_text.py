"""Verdicts in words: the evidence for a claim, and the study's outcome in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cabench.analysis.formatting import (
    NONE,
    count_unit,
    decimals,
    effect_decimals,
    effect_text,
    p_text,
)
from cabench.analysis.summary import Cell, Column, Row, TextTable, difference_title
from cabench.config.schema import COUNTS
from cabench.errors import listed, plural
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.rules import DIRECTED
from cabench.evidence.statistics import Estimate
from cabench.evidence.verdicts import Evidence, Verdict

COUNT_TITLES: dict[str, str] = dict(zip(COUNTS, ("MACs", "params"), strict=True))
Metrics = Mapping[str, Metric]
WON = ("supported", "supported, small")
DIRECTION = {  # margins hold for one of two twin metrics alone
    "supported, small": "supported",
    "contradicted, small": "contradicted",
    "equivalent": "unresolved",
}
OTHERS = ("contradicted", "contradicted, small", "equivalent", "unresolved")
ONE_SEED = "one seed, no test"


@dataclass(frozen=True)
class ClaimRow:
    """A claim as a table prints it."""

    id: str
    word: str
    verdict: str  # the word, and where an open claim's differences point
    says: str
    evidence: str
    paper: str = ""  # the claim as the paper states it, which needs the paper's scale
    other: str = ""  # the verdict on other features, where they are measured
    other_evidence: str = ""


def claim_rows(results: Results) -> list[ClaimRow]:
    """A row per claim, in the order of the verdicts."""
    rows = []
    for verdict in results.verdicts:
        evidence = evidence_text(verdict, results.metrics)
        claim = verdict.claim
        row = ClaimRow(
            claim_id(verdict),
            verdict.word,
            verdict_words(verdict, results.metrics),
            claim.says,
            evidence,
            claim.paper,
        )
        if (twin := results.twin_verdicts.get(verdict.claim.id)) is not None:
            row = replace(row, other=twin.word, other_evidence=evidence_text(twin, results.metrics))
        rows.append(row)
    return rows


def disagreement(results: Results) -> str:
    """'Other features disagree on C1a (unresolved, there supported).'; '' where they agree."""
    differing = [
        f"{claim_id(verdict)} ({verdict.word}, there {twin.word})"
        for verdict in results.verdicts
        if (twin := results.twin_verdicts.get(verdict.claim.id))
        and DIRECTION.get(twin.word, twin.word) != DIRECTION.get(verdict.word, verdict.word)
    ]
    return f"Other features disagree on {', '.join(differing)}." if differing else ""


def verdict_words(verdict: Verdict, metrics: Metrics) -> str:
    """The verdict's word, with what a reader would else miss.

    'unresolved, points the other way': the differences of an open claim contradict it, or those in
    one of its metrics ('... in FID'). 'one seed, no test' instead of 'not tested'.
    """
    if verdict.lacks_seeds and verdict.n == 1:
        return ONE_SEED
    if not (verdict.is_open and verdict.claim.test in DIRECTED):
        return verdict.word
    parts = measured(verdict, metrics)
    against = [m for _, m, effect in parts if effect.mean and not m.is_better(effect.mean)]
    if not against:
        return verdict.word
    names = dict.fromkeys(metric.label.partition("@")[0] for metric in against)
    where = "" if len(against) == len(parts) else f" in {listed(names)}"
    return f"{verdict.word}, points the other way{where}"


def claim_id(verdict: Verdict) -> str:
    """The claim's id, marked when the command line added it."""
    return f"{verdict.claim.id} (added)" if verdict.claim.added else verdict.claim.id


def measured(verdict: Verdict, metrics: Metrics) -> list[tuple[Evidence, Metric, Estimate]]:
    """The evidence from metrics that both arms have, with the paired difference as printed."""
    return [
        (part, metrics[part.metric], part.difference.scaled(metrics[part.metric].scale))
        for part in verdict.evidence
        if part.difference and part.n and part.metric in metrics
    ]


def evidence_text(verdict: Verdict, metrics: Metrics) -> str:
    """'KID x10^3 @2000 ↓: can-3 - native+dw = -1.2 [-1.9, -0.5], n = 3, p = .012, after ...'.

    Several metrics follow one another, each with its own p; the largest p comes last.
    """
    if verdict.is_count:
        texts = [
            f"{COUNT_TITLES[part.metric]}: {part.sides[0]} {ours}, {part.sides[1]} {base}, "
            f"{ratio_text(verdict, part)}"
            for part in verdict.evidence
            for ours, base in [count_texts(part)]
        ]
    else:
        texts = [_measured_text(verdict, *each) for each in measured(verdict, metrics)]
    if verdict.is_tested:
        largest = "largest " if len(verdict.evidence) > 1 else ""
        if verdict.nearest == "equivalent":  # not the difference's own p
            largest = f"{_own_p(verdict)}equivalence: {largest}"
        texts[-1] += f", {largest}{p_text(verdict.p)}, after Holm {p_text(verdict.p_holm)}"
    if text := remark(verdict):
        texts.append(text)
    return "; ".join(texts)


def _own_p(verdict: Verdict) -> str:
    """The p value of a difference that stands alone; several have theirs already."""
    difference = verdict.evidence[0].difference
    alone = len(verdict.evidence) == 1 and difference is not None and difference.is_tested
    return f"{p_text(difference.p)}; " if alone and difference is not None else ""


def remark(verdict: Verdict) -> str:
    """Why a claim is not tested, or the seeds that an open one would need."""
    if not verdict.is_open:
        return verdict.reason
    needed = f"with this mean and spread, {verdict.needed_text} seeds would decide"
    return "; ".join(filter(None, (verdict.reason, needed)))


def _measured_text(verdict: Verdict, part: Evidence, metric: Metric, effect: Estimate) -> str:
    shown = effect_text(effect, effect_decimals(effect))
    text = f"{metric.title}: {' - '.join(part.sides)} = {shown}, n = {part.n}"
    if len(verdict.evidence) > 1 and effect.is_tested:
        text += f", {p_text(effect.p)}"
    return text


def mean_texts(part: Evidence, metric: Metric, effect: Estimate) -> tuple[str, str]:
    """Both arms' means over the seeds they share, with as many decimals as their difference."""
    ours, base = part.better * metric.scale, part.than * metric.scale
    places = effect_decimals(effect) or decimals([ours, base], [])
    return f"{ours:z.{places}f}", f"{base:z.{places}f}"


def count_texts(part: Evidence) -> tuple[str, str]:
    """Both arms' counts in one unit: '4.4M', '3.58M'."""
    size, unit = count_unit([part.better, part.than])
    return f"{part.better / size:,.4g}{unit}", f"{part.than / size:,.4g}{unit}"


def ratio_text(verdict: Verdict, part: Evidence) -> str:
    """'1.23 times', '1.23 times (at most 1.5)'."""
    text = f"{part.better / part.than:.3g} times"
    limit = verdict.claim.ratio
    return text if limit is None else f"{text} (at most {limit:g})"


# ---- by length of training ---------------------------------------------------------------------


def verdicts_by_length(results: Results) -> TextTable | None:
    """A row per claim and length of training: the differences and the verdict.

    None where the study has one length, or no claim that is tested.
    """
    claims = [v.claim for v in results.verdicts if not v.is_count]
    names = dict.fromkeys(name for claim in claims for name in claim.metrics)
    metrics = [results.metrics[name] for name in names if name in results.metrics]
    rows: list[Row] = []
    cells: list[list[Cell]] = []
    for claim in claims:
        for images, after in results.by_length.items():
            (verdict,) = (v for v in after.verdicts if v.claim.id == claim.id)
            rows.append(Row(f"{claim.id}, {images:,} images"))
            cells.append(_length_cells(verdict, metrics))
    titles = [*(difference_title(metric) for metric in metrics), "verdict"]
    columns = zip(titles, zip(*cells, strict=True), strict=True)
    table = tuple(Column(title, of_rows) for title, of_rows in columns) if rows else ()
    return TextTable(tuple(rows), table, lead="claim") if rows else None


def verdicts_by_metric(results: Results) -> TextTable | None:
    """A row per claim and rival: under each metric the difference, and the claim's verdict by it.

    None where no claim can be tested by any metric.
    """
    every = {name: results.verdicts_by(name) for name in results.metrics}
    rows = [
        Row(f"{claim_id(verdict)}: {' - '.join(part.sides)}")
        for verdict in next(iter(every.values()), ())
        for part in verdict.evidence
    ]
    columns: list[Column] = []
    for name, verdicts in every.items():
        metric = results.metrics[name]
        parts = [(verdict, part) for verdict in verdicts for part in verdict.evidence]
        cells = [Cell(*_difference(part, metric)) for _, part in parts]
        words = [Cell(verdict.word) for verdict, _ in parts]
        columns.append(Column(difference_title(metric), tuple(cells), together=2))
        columns.append(Column(f"verdict by {metric.label.partition('@')[0]}", tuple(words)))
    return TextTable(tuple(rows), tuple(columns), lead="claim") if rows else None


def _difference(part: Evidence, metric: Metric) -> tuple[str, int | None]:
    if part.difference is None or not part.n:
        return NONE, None
    effect = part.difference.scaled(metric.scale)
    return effect_text(effect, effect_decimals(effect)), part.n


def _length_cells(verdict: Verdict, metrics: Sequence[Metric]) -> list[Cell]:
    effects = {m.name: effect for _, m, effect in measured(verdict, {m.name: m for m in metrics})}
    texts = [
        effect_text(effects[m.name], effect_decimals(effects[m.name]))
        if m.name in effects
        else NONE
        for m in metrics
    ]
    return [*map(Cell, texts), Cell(verdict.word)]


# ---- the outcome -------------------------------------------------------------------------------


def outcome_of(results: Results) -> str:
    """The outcome of a study's claims, and those on which other features disagree."""
    return " ".join(filter(None, (outcome(results.verdicts), disagreement(results))))


def outcome(verdicts: Iterable[Verdict]) -> str:
    """'Of the 4 tested claims, 1 is supported and 3 are unresolved.'; '' without claims.

    Claims that counting decides, and claims of added arms, have sentences of their own.
    """
    verdicts = list(verdicts)
    sentences = []
    for added, suffix in ((False, ""), (True, " added to the study")):
        family = [v for v in verdicts if v.claim.added is added]
        tests = [v for v in family if not v.is_count]
        counts = [v.word for v in family if v.is_count]
        if tests:
            sentences.append(_outcome_of_tests(tests, suffix))
        if counts:
            sentences.append(_outcome_of_counts(counts, suffix))
    return " ".join(sentences)


def _outcome_of_tests(verdicts: Sequence[Verdict], suffix: str) -> str:
    tested = [verdict.word for verdict in verdicts if verdict.word != "not tested"]
    won, skipped = sum(word in WON for word in tested), len(verdicts) - len(tested)
    if not tested:
        if max(verdict.n for verdict in verdicts) == 1:
            return f"{ONE_SEED.capitalize()}: {plural(skipped, 'claim')}{suffix} not tested."
        return f"No claim{suffix} could be tested ({skipped} of {skipped} not tested)."
    if len(tested) == 1:
        text = f"The one tested claim{suffix} is {tested[0]}"
    elif won == len(tested):
        text = f"{'Both' if won == 2 else f'All {won}'} tested claims{suffix} are supported"
    else:
        counts = [(won, "supported"), *((tested.count(w), w) for w in OTHERS if w in tested)]
        parts = [f"{n or 'none'} {'are' if n > 1 else 'is'} {word}" for n, word in counts]
        text = (
            f"Of the {len(tested)} tested claims{suffix}, {', '.join(parts[:-1])} and {parts[-1]}"
        )
    return f"{text}; {skipped} not tested." if skipped else f"{text}."


def _outcome_of_counts(words: Sequence[str], suffix: str) -> str:
    kinds = {"by construction": "true", "contradicted": "false", "not tested": "not counted"}
    counts = [f"{words.count(word)} {text}" for word, text in kinds.items() if word in words]
    nouns = plural(len(words), "claim") + suffix
    return f"Counting decides {nouns} about cost: {', '.join(counts)}."
