"""The study's table as cells: a row per arm, one precision per column, ready to print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cabench.analysis.footnotes import status
from cabench.analysis.formatting import NONE, count_unit, decimals, effect_text, level_text
from cabench.evidence.arms import ArmResult
from cabench.evidence.design import Design
from cabench.evidence.metric import SUPPORT, Metric
from cabench.evidence.results import Results
from cabench.evidence.statistics import ALPHA

FLOOR = "real vs real"
SWEPT = re.compile(r"(?P<metric>.+)/g(?P<guidance>\d+(?:\.\d+)?)")  # 'kid/g2': kid at guidance 2


@dataclass(frozen=True)
class Cell:
    """A table cell: text, the seeds behind it, and the word of its test."""

    text: str  # '2.45 ± 0.07', '-0.20 [-0.32, -0.09]'; NONE without a value
    # fmt: off
    n: int | None = None    # seeds behind it, where a table states them
    word: str = ""          # 'better' or 'worse', where the test says so
    # fmt: on


@dataclass(frozen=True)
class Column:
    """A titled column of cells, one per row."""

    title: str
    cells: tuple[Cell, ...]  # one per row
    together: int = 1  # so many columns from here on stay in one block, where they fit


@dataclass(frozen=True)
class Row:
    """A row's arm and how complete it is."""

    name: str
    # fmt: off
    status: str = ""            # 'failed (1 of 3)'; '' when all trials are complete
    is_baseline: bool = False
    n: int | None = None        # complete trials; None: the row is no arm
    # fmt: on


@dataclass(frozen=True)
class TextTable:
    """A table as text, before a terminal, Markdown or PDF lays it out."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    lead: str = "arm"  # what the rows are

    def with_n_column(self) -> TextTable:
        """Seeds in a column of their own; a cell keeps its n where it differs from its row's."""
        ns = tuple(Cell(NONE if row.n is None else str(row.n)) for row in self.rows)
        columns = [
            Column(
                column.title,
                tuple(
                    Cell(cell.text, None if cell.n == row.n else cell.n, cell.word)
                    for cell, row in zip(column.cells, self.rows, strict=True)
                ),
                column.together,
            )
            for column in self.columns
        ]
        return TextTable(self.rows, (Column("n", ns), *columns))


# ---- the main table ----------------------------------------------------------------------------


def summary(results: Results, jointly: bool = False) -> TextTable:
    """A row per arm in the study's order, then real images scored against real images.

    `jointly`: intervals of the primary metric's differences cover for all arms at once.

    Columns: each metric ('2.45 ± 0.07', n), the paired difference to the baseline for the primary
    metric (with 'better' or 'worse' where p < .05 after Holm) and for the held-out loss, failed
    seeds where there are any, MACs, params, images/s.
    """
    columns: list[Column] = []
    for metric in _primary_first(results):
        rows = results.compare_arms([metric.name])
        levels = _level_column(rows, metric, floor_score(results, metric))
        if metric.name in (results.manifest.primary, SUPPORT):
            with_word = metric.name == results.manifest.primary
            design = Design.of(results.manifest) if jointly and with_word else None
            columns += [levels, _difference_column(rows, metric, with_word, design)]
        else:
            columns.append(Column(levels.title, levels.cells))
    return TextTable(_rows(results), (*columns, *_failure_column(results), *_cost_columns(results)))


def _failure_column(results: Results) -> list[Column]:
    """How many of an arm's seeds failed; no column where none did."""
    progress = [results.progress(arm) for arm in results.arms]
    if not any(each.failed for each in progress):
        return []
    cells = [Cell(f"{each.failed} of {each.total}") for each in progress]
    return [Column("failed seeds", (*cells, Cell(NONE)))]


def _rows(results: Results) -> tuple[Row, ...]:
    baseline = results.manifest.baseline
    arms = [
        Row(arm, text, arm == baseline, results.progress(arm).complete)
        for arm, text in status(results).items()
    ]
    return (*arms, Row(FLOOR))


def _primary_first(results: Results) -> list[Metric]:
    first = results.primary
    return [first, *(m for m in results.metrics.values() if m.name != first.name)]


def difference_title(metric: Metric) -> str:
    """The title of a column of differences to the baseline."""
    return f"diff. {metric.title}"


def _level_column(rows: Sequence[ArmResult], metric: Metric, floor: float) -> Column:
    levels = [row.level.scaled(metric.scale) for row in rows]
    digits = 3 if any(level.has_interval for level in levels) else 4
    places = decimals([e.mean for e in levels], [e.half for e in levels], digits)
    cells = [Cell(level_text(e, places), e.n) if e.n else Cell(NONE) for e in levels]
    cells.append(Cell(NONE if math.isnan(floor) else f"{floor * metric.scale:.{places}f}"))
    return Column(metric.title, tuple(cells), together=2)


def _difference_column(
    rows: Sequence[ArmResult], metric: Metric, with_word: bool, joint: Design | None = None
) -> Column:
    differences = [joint.jointly(r.difference, r.tests) if joint else r.difference for r in rows]
    effects = [difference.scaled(metric.scale) for difference in differences]
    places = decimals([e.mean for e in effects], [e.half for e in effects], digits=2)
    cells = []
    for row, effect in zip(rows, effects, strict=True):
        if row.is_baseline:
            cells.append(Cell("baseline"))
        elif not effect.n:
            cells.append(Cell(NONE))
        else:
            word = verdict_word(row, metric) if with_word else ""
            fewer = effect.n if effect.n < row.level.n else None
            cells.append(Cell(effect_text(effect, places), fewer, word))
    return Column(difference_title(metric), (*cells, Cell(NONE)))


def verdict_word(row: ArmResult, metric: Metric) -> str:
    """'better' or 'worse' where p < .05 after Holm; '' where the difference is unresolved."""
    if not row.p_holm < ALPHA:
        return ""
    return "better" if metric.is_better(row.difference.mean) else "worse"


def floor_score(results: Results, metric: Metric) -> float:
    """The score of real images against other real images; NaN where no record has it."""
    scores = [p.floor[metric.name] for p in results.protocols() if metric.name in p.floor]
    return float(np.mean(scores)) if scores else float("nan")


def _cost_columns(results: Results) -> list[Column]:
    costs = [results.costs[arm] for arm in results.arms]
    columns = [_count_column("MACs", [cost.macs for cost in costs])]
    macs_unit = count_unit(cost.macs for cost in costs)
    if any(cost.conditioning_macs > 0 for cost in costs):
        counts = [cost.conditioning_macs for cost in costs]
        columns.append(_count_column("conditioning MACs", counts, macs_unit))
    columns.append(_count_column("params", [cost.params for cost in costs]))
    rates = [f"{c.images_per_s:,.0f}" if c.images_per_s > 0 else NONE for c in costs]
    columns.append(Column("images/s", (*map(Cell, rates), Cell(NONE))))
    first = columns[0]
    return [Column(first.title, first.cells, together=len(columns)), *columns[1:]]


def _count_column(
    title: str, counts: Sequence[float], unit: tuple[float, str] | None = None
) -> Column:
    size, letter = unit or count_unit(counts)
    places = decimals([count / size for count in counts], [])
    texts = [NONE if math.isnan(c) else f"{c / size:,.{places}f}" for c in counts]
    return Column(f"{title} ({letter})" if letter else title, (*map(Cell, texts), Cell(NONE)))


# ---- lengths of training -----------------------------------------------------------------------


def lengths(results: Results) -> TextTable | None:
    """The primary metric after each length of training: a row per arm, two columns per length.

    None where the study has one length.
    """
    columns = []
    for images, after in results.by_length.items():
        rows = after.compare_arms([results.primary.name])
        levels = _level_column(rows, results.primary, floor_score(after, results.primary))
        differences = _difference_column(rows, results.primary, with_word=True)
        columns += [
            Column(f"{images:,} images", levels.cells[:-1], together=2),
            Column("diff.", differences.cells[:-1]),
        ]
    rows = tuple(Row(arm, is_baseline=arm == results.manifest.baseline) for arm in results.arms)
    return TextTable(rows, tuple(columns)) if columns else None


# ---- other guidance ----------------------------------------------------------------------------


def guidance(results: Results) -> TextTable | None:
    """Scores at further guidance values beside those at the primary one, on the same seeds.

    A row per arm x guidance: guidance, seeds, then each metric as 'primary -> this guidance'.
    None when no further guidance value was sampled.
    """
    values = guidance_values(results.frame["metric"])
    metrics = list(results.metrics.values())
    rows, table = [], []
    for arm in results.arms:
        for value in values:
            pairs = [_guidance_cell(results, arm, metric, value) for metric in metrics]
            seeds = next((seeds for _, seeds in reversed(pairs) if seeds), "")
            if seeds:
                rows.append(Row(arm, is_baseline=arm == results.manifest.baseline))
                table.append([value, seeds, *(text for text, _ in pairs)])
    titles = ["guidance", "seeds", *(metric.title for metric in metrics)]
    columns = [
        Column(title, tuple(map(Cell, cells)))
        for title, *cells in zip(titles, *table, strict=True)
        if any(cell != NONE for cell in cells)
    ]
    return TextTable(tuple(rows), tuple(columns)) if rows else None


def guidance_values(names: Iterable[str]) -> list[str]:
    """The further guidance values among the names of metrics, ascending: '2' of 'kid/g2'."""
    matches = [SWEPT.fullmatch(name) for name in dict.fromkeys(names)]
    return sorted({match["guidance"] for match in matches if match}, key=float)


def _guidance_cell(results: Results, arm: str, metric: Metric, value: str) -> tuple[str, str]:
    """('3.03 -> 2.12', '0'): the two means, and the seeds that have both."""
    other = results.by_seed(arm, f"{metric.name}/g{value}")
    if other.empty:
        return NONE, ""
    same = results.by_seed(arm, metric.name).reindex(other.index)
    means = [float((part * metric.scale).mean()) for part in (same, other)]
    places = decimals(means, [])
    return (
        f"{means[0]:.{places}f} -> {means[1]:.{places}f}",
        ", ".join(map(str, other.index)),
    )
