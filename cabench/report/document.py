"""The report's texts as plain JSON: the template sets them and decides nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cabench.analysis.footnotes import footnotes, warnings
from cabench.analysis.formatting import NONE, effect_decimals, effect_text, fold, p_text
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
)
from cabench.evidence.frame import Progress
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.evidence.verdicts import Evidence, Verdict
from cabench.records.spec import Json
from cabench.report import methods_section as methods
from cabench.report.assumptions import assumptions
from cabench.version import __version__

NAME, CLAIM_NAME = 24, 19  # letters in a line of an arm's name: in a table, beside a claim
CLAIM_ID = 12  # letters in a line of a claim's id
DASH = "–"  # stands for a missing value
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LONGEST_WORD = 28  # letters, before it may break


def content(results: Results) -> Json:
    """All texts of the report; `report.images` adds what is drawn."""
    manifest = results.manifest
    warned = warnings(results)
    notes = [n for n in footnotes(results, with_caveat=False) if n not in warned]
    swept = guidance(results)
    return {
        "study": manifest.study,
        "scale": manifest.scale,
        "version": __version__,
        "question": breakable(manifest.question),
        "outcome": outcome_of(results) or "The study states no claims.",
        "notices": [breakable(text) for text in [*progress_notices(results), *warned]],
        "claims": claims(results),
        "caveat": breakable(manifest.caveat),
        "table": table(summary(results).with_n_column()),
        "footnotes": [breakable(typeset(note)) for note in notes],
        "guidance": table(swept) if swept else None,
        "lengths": [
            {"title": typeset(title), "table": table(cells)} for title, cells in by_length(results)
        ],
        "protocol": [[title, breakable(text)] for title, text in methods.protocol(results)],
        "arms": [
            {
                "name": fold(arm.name, NAME),
                "about": breakable(arm.about),
                "model": breakable(arm.model),
            }
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
            | _outcome(verdict, results.metrics)
        )
        if (twin := results.twin_verdicts.get(claim.id)) is not None:
            row = {"id": [""], "added": False, "says": OTHER, "paper": ""}
            rows.append(row | _outcome(twin, results.metrics))
    return rows


def _outcome(verdict: Verdict, metrics: Mapping[str, Metric]) -> Json:
    return {
        "evidence": evidence(verdict, metrics),
        "reason": breakable(remark(verdict)),
        "n": str(verdict.n) if verdict.n else DASH,
        "verdict": verdict.word,
        "p": f"{p_text(verdict.p_holm)} after Holm" if verdict.is_tested else "",
    }


def evidence(verdict: Verdict, metrics: Mapping[str, Metric]) -> list[Json]:
    """Per metric or count: its title, both arms' values, and how they differ."""
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
    return [
        _entry(
            part,
            metric.title,
            mean_texts(part, metric, effect),
            effect_text(effect, effect_decimals(effect)),
        )
        for part, metric, effect in measured(verdict, metrics)
    ]


def _entry(part: Evidence, title: str, values: tuple[str, str], effect: str) -> Json:
    return {
        "title": typeset(title),
        "arms": [
            {"name": fold(name, CLAIM_NAME), "value": typeset(value)}
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
