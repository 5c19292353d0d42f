"""The paper's metrics, FID by Inception and CLIP score, as a table beside a study's own."""

from __future__ import annotations

import pandas as pd

from cabench.analysis.formatting import NONE, decimals, level_text
from cabench.analysis.summary import FLOOR, Cell, Column, Row, TextTable
from cabench.evidence.design import Design
from cabench.evidence.metric import Metric
from cabench.evidence.results import Results
from cabench.records.paper_scores import LEAST, WEIGHTS, PaperScore

TITLE = "FID and CLIP score"
TITLES = {"fid_inception": "FID by Inception", "clip_score": "CLIP score"}
OPTIONS = {"fid_inception": "", "clip_score": " --clip NAME"}


def paper_scores_table(results: Results) -> TextTable | None:
    """A row per arm, with what the study's table has after ±; None where nothing is scored."""
    scored = _shown(results)
    if not scored:
        return None
    names = [*results.arms, FLOOR]
    columns = []
    for name, score in scored.items():
        metric = Metric(name, score.label, score.higher_is_better)
        columns.append(Column(metric.title, tuple(_cells(results, score))))
    rows = (Row(name, is_baseline=name == results.manifest.baseline) for name in names)
    return TextTable(tuple(rows), tuple(columns))


def paper_scores_note(results: Results) -> str:
    """Which weights the scores rest on, and which metrics lack theirs; '' where the study has both.

    Only studies with claims of the paper have a note without scores.
    """
    scored = _shown(results)
    if not scored and not any(claim.paper for claim in results.manifest.claims):
        return ""
    parts = [f"{TITLES[name]}: weights {score.weights[:16]}." for name, score in scored.items()]
    parts += [_absent(results, name) for name in _missing(results)]
    return " ".join(parts)


def _absent(results: Results, name: str) -> str:
    n = min((protocol.n for protocol in results.protocols()), default=0)
    if n < LEAST[name]:
        return f"{TITLES[name]}: needs {LEAST[name]:,} samples per trial, got {n:,}."
    run = f"{results.manifest.study}.{results.manifest.scale}"
    command = f"cabench score {run} --metrics {name}{OPTIONS[name]}"
    return f"{TITLES[name]}: not scored yet, as its weights are not bundled; `{command}` adds it."


def _shown(results: Results) -> dict[str, PaperScore]:
    """The scores of the run's trials that its own table does not have."""
    keys = {trial.key for trial in results.manifest.trials}
    return {
        name: score
        for name, score in results.paper_scores.items()
        if name not in results.manifest.metrics and keys & set(score.scores)
    }


def _missing(results: Results) -> list[str]:
    known = (*_shown(results), *results.manifest.metrics)
    return [name for name in WEIGHTS if name not in known]


def _cells(results: Results, score: PaperScore) -> list[Cell]:
    keys = {
        arm: [t.key for t in results.manifest.trials if t.arm == arm and t.key in score.scores]
        for arm in results.arms
    }
    values = [[score.scores[key] for key in keys[arm]] for arm in results.arms]
    levels = [Design.of(results.manifest).level(pd.Series(each, dtype=float)) for each in values]
    means, halves = [level.mean for level in levels], [level.half for level in levels]
    places = decimals(means, halves)
    cells = [Cell(level_text(e, places), e.n) if e.n else Cell(NONE) for e in levels]
    return [*cells, Cell(f"{score.floor:.{places}f}")]
