"""A study's page: one HTML file with its answer, tables, charts, samples, protocol and records."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.best_arm import best_arm_text
from cabench.analysis.evidence_cost import TITLE, evidence_cost_note, evidence_cost_table
from cabench.analysis.figures.weight_curves import MEASURES
from cabench.analysis.footnotes import footnotes, warnings
from cabench.analysis.intervals import table_interval_note
from cabench.analysis.paper_scores import TITLE as PAPER_TITLE
from cabench.analysis.paper_scores import paper_scores_note, paper_scores_table
from cabench.analysis.summary import TextTable, guidance, summary
from cabench.analysis.tables import AS_STATED, GUIDANCE, OTHER, by_length
from cabench.analysis.verdict_text import claim_rows, outcome_of
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.spec import Json
from cabench.report import methods_section as methods
from cabench.report.assumptions import assumptions
from cabench.report.document import about, progress_notices, typeset
from cabench.report.glossary import glossary
from cabench.runtime.files import atomic_path
from cabench.web import charts
from cabench.web.cells import table_cells
from cabench.web.render import Live, render
from cabench.web.viewer import viewer

MARKS = {  # beside a verdict's first word, so that colour is not all that tells them apart
    "supported": "✓",
    "by construction": "✓",
    "contradicted": "✗",
    "equivalent": "=",
    "unresolved": "?",
    "not tested": "–",
}


@dataclass(frozen=True)
class Link:
    """A link of a page's navigation."""

    title: str
    address: str


def write_page(run: Run, results: Results, out: Path) -> Path:
    """Write STUDY.SCALE.html; `results` are the run's, with curves."""
    path = out / f"{run.name}.html"
    with atomic_path(path) as part:
        part.write_text(study_page(run, results), encoding="utf-8")
    return path


def study_page(
    run: Run, results: Results, live: Live | None = None, links: tuple[Link, ...] = ()
) -> str:
    """The page as HTML: of one day, equal manifest, records, curves and grids give equal text."""
    warned = warnings(results)
    notes = [note for note in footnotes(results, with_caveat=False) if note not in warned]
    further = [(typeset(title), "", table) for title, table in by_length(results)]
    if (swept := guidance(results)) is not None:
        further.append((typeset(GUIDANCE), "", swept))
    if (scored := paper_scores_table(results)) is not None:
        further.append((PAPER_TITLE, paper_scores_note(results), scored))
    if (costs := evidence_cost_table(results)) is not None:
        further.append((TITLE, evidence_cost_note(results), costs))
    table = summary(results, jointly=True)
    data = page_data(run, results, table)
    return render(
        "study.html",
        data,
        live,
        links=links,
        name=run.name,
        manifest=results.manifest,
        outcome=outcome_of(results) or "The study states no claims.",
        about=about(results),
        notices=[*progress_notices(results), *warned],
        best=typeset(best_arm_text(results)),
        table_note=typeset(table_interval_note(results)),
        glossary=dict(glossary(results)),
        claims=claim_rows(results),
        marks=MARKS,
        typeset=typeset,
        other=OTHER,
        as_stated=AS_STATED,
        arms=table_cells(table.with_n_column()),
        groups=charts.groups(results),
        costs=charts.COSTS,
        tests=charts.tests_at_once(results),
        trials=trials(results),
        further=[(title, typeset(note), table_cells(table)) for title, note, table in further],
        notes=[typeset(note) for note in notes],
        protocol=methods.protocol(results),
        descriptions=methods.arms(results),
        failures=results.failures(),
        assumptions=assumptions(results.records.values()),
        command=methods.command(results.manifest),
        software=methods.software(results),
        machines=methods.machines(results),
        time=methods.training_time(results),
        measures=MEASURES,
        has={name: bool(data[name]) for name in ("curves", "weights", "viewer", "over")},
    )


def page_data(run: Run, results: Results, table: TextTable) -> Json:
    """What the page's scripts read; `table` is the study's."""
    over = [charts.lengths(results), charts.ladder(results, run.store.results)]
    return {
        "name": run.name,
        "baseline": results.manifest.baseline,
        "arms": charts.groups(results),
        "metrics": charts.metrics(results, table),
        "costs": {arm: charts.cost_of(results, arm) for arm in results.arms},
        "curves": charts.curves(results),
        "weights": charts.weights(results),
        "over": [part for part in over if part is not None],
        "viewer": viewer(results, run.store),
        "records": packed(results),
    }


def packed(results: Results) -> str:
    """The records by key, as JSON, compressed (gzip) and in base64."""
    keys = dict.fromkeys(trial.key for trial in results.manifest.all_trials)
    records = {key: results.records[key].dump() for key in keys if key in results.records}
    text = json.dumps(records, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def trials(results: Results) -> dict[str, list[Json]]:
    """By arm: seed, key and status ('complete', 'failed', 'missing') of its trials."""
    by_arm: dict[str, list[Json]] = {arm: [] for arm in results.arms}
    for trial in results.manifest.trials:
        record = results.records.get(trial.key)
        status = record.status if record else "missing"
        by_arm[trial.arm].append({"seed": trial.seed, "key": trial.key, "status": status})
    return by_arm
