"""What 80 % power for a difference of 5 % costs, for each claim of a study, as a table."""

from __future__ import annotations

import pandas as pd

from cabench.analysis.formatting import NONE
from cabench.analysis.summary import Cell, Column, Row, TextTable
from cabench.evidence.power import POWER, SHARE, EvidenceCost, costs_of_evidence
from cabench.evidence.results import Results
from cabench.evidence.stopping import MOST

TITLE = "Cost of evidence"
COLUMNS = ["claim", "metric", "n", "sd", "effect", "seeds", "minutes"]


def evidence_cost_table(results: Results) -> TextTable | None:
    """A row per claim of `costs_of_evidence`; None without one."""
    costs = costs_of_evidence(results)
    if not costs:
        return None
    scale = results.primary.scale
    columns = {
        "difference to show": [_text(cost.effect * scale) for cost in costs],
        "SD of a paired difference": [_text(cost.sd * scale) for cost in costs],
        "seeds": [f"> {MOST}" if cost.seeds is None else f"{cost.seeds}" for cost in costs],
        "worker-minutes": [f"{cost.minutes:,.0f}" if cost.minutes else NONE for cost in costs],
    }
    return TextTable(
        tuple(Row(cost.claim) for cost in costs),
        tuple(Column(title, tuple(map(Cell, texts))) for title, texts in columns.items()),
        lead="claim",
    )


def evidence_cost_note(results: Results) -> str:
    """What the table states, for a caption."""
    return (
        f"Seeds that a design with a fixed number needs to show a difference of {SHARE * 100:g} % "
        f"of the baseline's {results.primary.title_without_arrow} with a power of {POWER * 100:g} "
        "%, by a two-sided paired t test at the first step of Holm's correction. A claim over "
        "several metrics needs more. The spread is that of the seeds so far. A worker-minute is a "
        "minute of one worker in training, sampling and scoring."
    )


def evidence_cost_frame(results: Results) -> pd.DataFrame:
    """The same numbers in stored units; seeds and minutes are empty where too many are needed."""
    rows = [_row(cost, results.primary.name) for cost in costs_of_evidence(results)]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS)).astype({"seeds": "Int64"})


def _row(cost: EvidenceCost, metric: str) -> list[object]:
    return [cost.claim, metric, cost.n, cost.sd, cost.effect, cost.seeds, cost.minutes]


def _text(number: float) -> str:
    return f"{number:#.2g}".rstrip(".")
