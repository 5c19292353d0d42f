"""The report's texts as plain JSON: the template sets them and decides nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cabench.analysis.best_arm import best_arm_text
from cabench.analysis.evidence_cost import evidence_cost_note, evidence_cost_table
from cabench.analysis.footnotes import footnotes, warnings
from cabench.analysis.formatting import NONE, RAISED, effect_decimals, effect_text, fold, p_text
from cabench.analysis.intervals import claims_interval_note, table_interval_note
from cabench.analysis.paper_scores import paper_scores_note, paper_scores_table
from cabench.analysis.summary import Cell, TextTable, guidance, summary
from cabench.analysis.tables import OTHER, by_length
from cabench.analysis.verdict_text import (
    COUNT_TITLES,
    count_texts,
    mean_texts,
    measured,
    outcome_of,
    ratio_text,
    remark,
    verdict_words,
)
from cabench.errors import plural
from cabench.evidence.design import Design
from cabench.evidence.frame import Progress
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Evidence, Verdict
from cabench.records.spec import Json
from cabench.report import methods_section as methods
from cabench.report.assumptions import assumptions
from cabench.report.glossary import glossary
from cabench.runtime import source
from cabench.version import __version__

NAME = 24  # letters in a line of an arm's name
CLAIM_ID = 12  # letters in a line of a claim's id
PAPER = (
    "On the paper: Han Cai et al., Condition-Aware Neural Network for Controlled Image Generation, "
    "CVPR 2024, arXiv 2404.01143."
)
DASH = "–"  # stands for a missing value
LONGEST_WORD = 28  # letters, before it may break


def content(results: Results) -> Json:
    """All texts of the report; `report.images` adds what is drawn."""
    manifest = results.manifest
    warned = warnings(results)
    notes = [n for n in footnotes(results, with_caveat=False) if n not in warned]
    swept, costs = guidance(results), evidence_cost_table(results)
    scored = paper_scores_table(results)
    return {
        "study": manifest.study,
        "scale": manifest.scale,
        "version": __version__,
        "about": [breakable(text) for text in about(results)],
        "question": breakable(manifest.question),
        "outcome": outcome_of(results) or "The study states no claims.",
        "best": breakable(typeset(best_arm_text(results))),
        "notices": [breakable(text) for text in [*progress_notices(results), *warned]],
        "claims": claims(results),
        "caveat": breakable(manifest.caveat),
        "claims_note": claims_interval_note(results),
        "table": table(summary(results, jointly=True).with_n_column()),
        "table_note": typeset(table_interval_note(results)),
        "footnotes": [breakable(typeset(note)) for note in notes],
        "guidance": table(swept) if swept else None,
        "paper_scores": table(scored) if scored else None,
        "paper_scores_note": breakable(typeset(paper_scores_note(results).replace("`", ""))),
        "evidence_cost": table(costs) if costs else None,
        "evidence_cost_note": typeset(evidence_cost_note(results)),
        "lengths": [
            {"title": typeset(title), "table": table(cells)} for title, cells in by_length(results)
        ],
        "protocol": [[title, breakable(text)] for title, text in methods.protocol(results)],
        "glossary": [
            {"name": fold(name, NAME), "text": breakable(text)} for name, text in glossary(results)
        ],
        "arms": [
            {"name": fold(arm.name, NAME), "model": breakable(arm.model)}
            for arm in methods.arms(results)
        ],
        "failures": [breakable(text) for text in results.failures()],
        "assumptions": assumptions(results.records.values()),
        "command": methods.command(manifest),
        "study_sha256": manifest.study_sha256,
        "software": methods.software(results),
        "machines": methods.machines(results),
        "time": methods.training_time(results),
    }


def about(results: Results) -> list[str]:
    """What the report is about: the paper where CAN takes part, then date and versions."""
    kinds = {m.kind for record in results.records.values() for m in record.spec.train.model.methods}
    claimed = any(claim.paper for claim in results.manifest.claims)
    revision = source.commit()
    written = f"Report of {source.today()} by cabench {__version__}"
    written += f", commit {revision}" if revision else ""
    versions, *others = methods.software(results) or [""]
    if versions:
        further = f" and {plural(len(others), 'other set')} of versions" if others else ""
        written += f". Trials by {versions}{further}"
    return [*([PAPER] if "can" in kinds or claimed else []), f"{written}."]


def progress_notices(results: Results) -> list[str]:
    """'27 of 30 trials are complete: 2 failed, 1 has not run.', or [] when all are complete."""
    progress = sum((results.progress(arm) for arm in results.arms), Progress())
    if progress.complete == progress.total:
        return []
    parts = [f"{progress.failed} failed"] if progress.failed else []
    if progress.missing:
        verb = "has" if progress.missing == 1 else "have"
        parts.append(f"{progress.missing} {verb} not run")
    if not progress.complete:
        return [f"No trial is complete: {', '.join(parts)}."]
    return [
        f"{progress.complete} of {progress.total} trials are complete: {', '.join(parts)}. "
        "The report rests on the complete trials."
    ]


# ---- claims ------------------------------------------------------------------------------------


def claims(results: Results) -> list[Json]:
    """A row per claim, and one more for its verdict on other features where they are measured.

    `evidence` has an entry per metric, with both arms' numbers.
    """
    rows = []
    for verdict in results.verdicts:
        claim = verdict.claim
        rows.append(
            {"id": fold(claim.id, CLAIM_ID), "added": claim.added, "says": breakable(claim.says)}
            | {"paper": breakable(claim.paper)}
            | _outcome(verdict, results)
        )
        if (twin := results.twin_verdicts.get(claim.id)) is not None:
            row = {"id": [""], "added": False, "says": OTHER, "paper": ""}
            rows.append(row | _outcome(twin, results))
    return rows


def _outcome(verdict: Verdict, results: Results) -> Json:
    metrics = results.metrics
    return {
        "evidence": evidence(verdict, metrics, Design.of(results.manifest)),
        "reason": breakable(remark(verdict)),
        "n": str(verdict.n) if verdict.n else DASH,
        "verdict": verdict.word,
        "words": verdict_words(verdict, metrics),
        "p": f"{p_text(verdict.p_holm)} after Holm" if verdict.is_tested else "",
    }


def evidence(verdict: Verdict, metrics: Mapping[str, Metric], design: Design) -> list[Json]:
    """Per metric or count: its title, both arms' values, and how they differ.

    Intervals cover for all claims of the family at once, as the verdict is corrected over them.
    """
    if verdict.is_count:
        return [
            _entry(
                part,
                COUNT_TITLES[part.metric],
                count_texts(part),
                ratio_text(verdict, part),
            )
            for part in verdict.evidence
        ]
    parts = measured(verdict, metrics)
    sides = list(dict.fromkeys(part.sides for part, _, _ in parts))
    parts.sort(key=lambda each: sides.index(each[0].sides))  # rival by rival
    return [
        _entry(
            part,
            metric.title,
            mean_texts(part, metric, effect),
            effect_text(design.jointly(effect, verdict.tests), effect_decimals(effect)),
        )
        for part, metric, effect in parts
    ]


def _entry(part: Evidence, title: str, values: tuple[str, str], effect: str) -> Json:
    return {
        "title": _unbroken_arrow(typeset(title)),
        "arms": [
            {"name": breakable(name), "value": typeset(value)}
            for name, value in zip(part.sides, values, strict=True)
        ],
        "effect": typeset(effect),
    }


# ---- tables ------------------------------------------------------------------------------------


def table(cells: TextTable) -> Json:
    """Rows and columns; a cell is a pair of number and word ('better', 'worse')."""
    return {
        "lead": cells.lead,
        "rows": [
            {"name": fold(row.name, NAME), "status": row.status, "baseline": row.is_baseline}
            for row in cells.rows
        ],
        "columns": [
            {
                "title": _unbroken_arrow(typeset(column.title)),
                "together": column.together,
                "cells": [[_number(cell), cell.word] for cell in column.cells],
            }
            for column in cells.columns
        ],
    }


def _number(cell: Cell) -> str:
    text = cell.text if cell.n is None else f"{cell.text} (n={cell.n})"
    return typeset(text)


def _unbroken_arrow(title: str) -> str:
    """The title with its arrow tied to the last word."""
    return title.replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑")


# ---- typography --------------------------------------------------------------------------------


def typeset(text: str) -> str:
    """A minus in place of a hyphen before a number, an arrow for ->, a raised power of ten."""
    if text == NONE:
        return DASH
    text = re.sub(r"x10\^(-?\d+)", lambda m: "×10" + m[1].translate(RAISED), text)
    return re.sub(r"(?<![\w)\]-])-(?=\.?\d)", "−", text).replace(" -> ", " → ")


def breakable(text: str, longest: int = LONGEST_WORD) -> str:
    """The text with zero-width spaces in long words, so that they may break."""
    return re.sub(
        rf"\S{{{longest + 1},}}",
        lambda match: "\u200b".join(fold(match[0], longest)),
        text,
    )
