"""All that the report says, as plain JSON: the template sets it and decides nothing."""

from __future__ import annotations

import re
from typing import Any

from cabench.analysis import notes, tables
from cabench.analysis.labels import fold, p_text
from cabench.analysis.ledger import (
    COUNT_TITLES,
    counts,
    effect,
    limit,
    means,
    outcome,
    times,
)
from cabench.analysis.summary import NONE, guidance, summary
from cabench.evidence.frame import complete_records, failures, progress, study_arms, tidy
from cabench.evidence.metric import Metric, study_metrics
from cabench.evidence.verdicts import judge
from cabench.report import methods_section as protocol
from cabench.report.assumptions import assumptions
from cabench.version import __version__

Manifest = dict[str, Any]
Records = dict[str, dict[str, Any]]
NAME, LEDGER_NAME = 24, 19  # letters in a line of an arm's name: in a table, in the ledger
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def content(manifest: Manifest, records: Records) -> dict[str, Any]:
    """Every text of the report but its pictures."""
    found, done = list(records.values()), complete_records(manifest, records)
    claims = judge(manifest, records).to_dict("records")
    warned = notes.warnings(done)
    return {
        "study": manifest["study"],
        "scale": manifest["scale"],
        "version": __version__,
        "question": soft(manifest["question"]),
        "outcome": outcome(claims) or "The study states no claims.",
        "notices": [soft(text) for text in [*progress_notices(manifest, records), *warned]],
        "ledger": ledger(manifest, claims),
        "caveat": soft(manifest.get("caveat", "")),
        "table": table(manifest, records),
        "footnotes": [
            soft(typeset(text))
            for text in notes.footnotes(manifest | {"caveat": ""}, records)
            if text not in warned
        ],
        "guidance": guidance_table(manifest, records),
        "protocol": [[title, soft(text)] for title, text in protocol.protocol(manifest, records)],
        "arms": [
            {
                "name": fold(arm["name"], NAME),
                "about": soft(arm["about"]),
                "model": soft(arm["model"]),
            }
            for arm in protocol.arms(manifest, records)
        ],
        "failures": [soft(text) for text in failures(manifest, records)],
        "assumptions": assumptions(found),
        "command": protocol.command(manifest),
        "study_sha256": manifest.get("study_sha256", ""),
        "software": protocol.software(found),
        "machines": protocol.machines(found),
        "time": protocol.training_time(found),
    }


def progress_notices(manifest: Manifest, records: Records) -> list[str]:
    """'27 of 30 trials are complete: 2 failed, 1 has not run.', or nothing when all are."""
    frame = tidy(manifest, records)
    found = [progress(frame, arm["name"]) for arm in study_arms(manifest)]
    total = {k: sum(f[k] for f in found) for k in ("complete", "failed", "missing", "asked")}
    if total["complete"] == total["asked"]:
        return []
    parts = [f"{total['failed']} failed"] if total["failed"] else []
    if total["missing"]:
        parts.append(f"{total['missing']} {'has' if total['missing'] == 1 else 'have'} not run")
    if not total["complete"]:
        return [f"No trial is complete: {', '.join(parts)}."]
    return [
        f"{total['complete']} of {total['asked']} trials are complete: {', '.join(parts)}. "
        "What follows rests on the complete ones."
    ]


# ---- claims ------------------------------------------------------------------------------------


def ledger(manifest: Manifest, claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per claim; `found` has a title and both arms' numbers for each metric."""
    metrics = study_metrics(manifest)
    return [
        {
            "id": fold(str(row["id"]), 12),
            "added": bool(row["added"]),
            "says": soft(row["says"]),
            "paper": soft(row["paper"] or ""),
            "found": _found(row, metrics),
            "reason": soft(row["reason"]),
            "n": str(row["n"]) if row["n"] else "–",
            "effect": _effects(row, metrics),
            "verdict": row["verdict"],
            "p": _p(row),
        }
        for row in claims
    ]


def _found(row: dict[str, Any], metrics: dict[str, Metric]) -> list[dict[str, Any]]:
    found = []
    for part, metric in _parts(row, metrics):
        values = counts(part) if metric is None else means(part, metric)
        title = COUNT_TITLES[part["metric"]] if metric is None else metric.title
        arms = [
            {"name": fold(row[side], LEDGER_NAME), "value": typeset(value)}
            for side, value in zip(("better", "than"), values, strict=True)
        ]
        found.append({"title": typeset(title), "arms": arms})
    return found


def _effects(row: dict[str, Any], metrics: dict[str, Metric]) -> list[str]:
    return [
        typeset(times(part) + limit(row) if metric is None else effect(part, metric))
        for part, metric in _parts(row, metrics)
    ]


def _parts(
    row: dict[str, Any], metrics: dict[str, Metric]
) -> list[tuple[dict[str, Any], Metric | None]]:
    """What was found, with its metric (None for counts); nothing for what was not measured."""
    if row["test"] == "by_construction":
        return [(part, None) for part in row["parts"]]
    return [(p, metrics[p["metric"]]) for p in row["parts"] if p["n"] and p["metric"] in metrics]


def _p(row: dict[str, Any]) -> str:
    return f"{p_text(row['p_holm'])} after Holm" if row["p_holm"] == row["p_holm"] else ""


# ---- tables ------------------------------------------------------------------------------------


def table(manifest: Manifest, records: Records) -> dict[str, Any]:
    """The main table; its last row is real against real."""
    body = summary(manifest, records)
    rows = [
        {"name": fold(arm, NAME), "status": status, "baseline": arm == manifest["baseline"]}
        for arm, status in zip(body["arm"], body["status"], strict=True)
    ]
    return {"rows": rows, "columns": _columns(tables.compact(manifest, records, body))}


def guidance_table(manifest: Manifest, records: Records) -> dict[str, Any]:
    body = guidance(manifest, records)
    if body.empty:
        return {"rows": [], "columns": []}
    rows = [
        {"name": fold(arm, NAME), "status": "", "baseline": arm == manifest["baseline"]}
        for arm in body["arm"]
    ]
    return {"rows": rows, "columns": _columns({k: list(body[k]) for k in body.columns[1:]})}


def _columns(columns: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Cells as number and word ('better', 'worse'), so that the numbers stay in line.

    `together`: how many columns from here on belong together: a metric and its difference, the
    costs.
    """
    titles = [*columns, ""]
    return [
        {
            "title": typeset(title).replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑"),
            "together": len(columns) - i
            if title.startswith("MACs")
            else 1 + titles[i + 1].startswith("diff."),
            "cells": [
                [
                    typeset(part)
                    for part in re.fullmatch(r"(.*?)(?: (better|worse))?", cell).groups("")
                ]
                for cell in cells
            ],
        }
        for i, (title, cells) in enumerate(columns.items())
    ]


# ---- letters -----------------------------------------------------------------------------------


def typeset(text: str) -> str:
    """A minus for a hyphen before a number, an arrow for ->, a raised power of ten."""
    if text == NONE:
        return "–"
    text = re.sub(r"x10\^(-?\d+)", lambda m: "×10" + m[1].translate(RAISED), text)
    return re.sub(r"(?<![\w)\]-])-(?=\.?\d)", "−", text).replace(" -> ", " → ")


def soft(text: str, longest: int = 28) -> str:
    """Long words may break: a zero-width space after their marks, else after so many letters."""
    return re.sub(
        rf"\S{{{longest + 1},}}",
        lambda m: "\u200b".join(line for line in fold(m[0], longest)),
        text,
    )
