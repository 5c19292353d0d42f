"""A comparison as it is printed: tables on a terminal, plain columns into a file or a pipe."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cabench.analysis.comparison import (
    Agreement,
    Difference,
    MetricRow,
    Side,
    agreement,
    arm_rows,
    arms,
    changed_models,
    common_metrics,
    cost_rows,
    design_of,
    metric_rows,
    model_differences,
    protocol_differences,
    run_differences,
    value_text,
)
from cabench.analysis.formatting import (
    NONE,
    count_unit,
    decimals,
    effect_decimals,
    effect_text,
    level_text,
    p_text,
)
from cabench.evidence.metric import Metric
from cabench.evidence.statistics import Estimate
from cabench.runtime.console import print_to_fit, screen

Columns = dict[str, list[str]]  # title -> cells
FAULTS = 10  # trials that disagree, listed
T_INTERVALS = "± and [ ]: 95 % Student-t interval over seeds."
SEQUENTIAL = (
    "Seeds were added after a look. ±: standard deviation over seeds; [ ]: 95 % confidence "
    "sequence."
)


def show(a: Side, b: Side, console: Console | None = None, width: int | None = None) -> None:
    """Print the comparison of two arms, or of two runs where the sides name no arm."""
    console = console or screen()
    ruled = console.is_terminal
    compare = two_runs if a.arm is None else two_arms
    print_to_fit(lambda columns: compare(a, b, Layout(columns, ruled)), console, width)


@dataclass(frozen=True)
class Layout:
    """Tables in blocks that fit the width: with rules on a terminal, bare columns elsewhere."""

    width: int
    ruled: bool = False

    def blocks(self, title: str, lead: list[str], groups: list[Columns]) -> list[Table]:
        """Columns led by `lead`, in as few tables as fit; the columns of a group stay together."""
        parts: list[Columns] = []
        for group in groups:
            if parts and _table_width({title: lead} | parts[-1] | group) <= self.width:
                parts[-1] = parts[-1] | group
            else:
                parts.append(dict(group))
        tables = []
        for part in parts:
            table = self.table(title, right=list(part))
            for name, *cells in zip(lead, *part.values(), strict=True):
                table.add_row(*map(Text, (name, *cells)))
            tables.append(table)
        return tables

    def table(self, *left: str, right: list[str] | None = None) -> Table:
        """An empty table with left-aligned and right-aligned columns; long cells wrap."""
        table = Table(
            box=box.SIMPLE_HEAD if self.ruled else None,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1 if self.ruled else 2, 0, 0),
            header_style="bold",
        )
        for title in left:
            table.add_column(title, overflow="fold")
        for title in right or []:
            table.add_column(title, justify="right", overflow="fold")
        return table


def _table_width(columns: Columns) -> int:
    """The width of a table: each column's longest line, and two between columns."""
    lines = [[*title.split("\n"), *cells] for title, cells in columns.items()]
    return sum(max(map(len, column)) for column in lines) + 2 * (len(columns) - 1)


# ---- two arms ----------------------------------------------------------------------------------


def two_arms(a: Side, b: Side, layout: Layout) -> list[RenderableType]:
    """Protocol, models, metrics with their paired difference, and cost of two arms."""
    one, other = a.complete[0], b.complete[0]
    unequal = protocol_differences(one, other)
    comparable = not unequal
    parts = [*_sides(a, b), "", _protocol(unequal), *_agreement(agreement(a, b))]
    models = model_differences(one, other)
    if models:
        table = layout.table("the models differ in", "A", "B")
        for d in models:
            table.add_row(*map(Text, (d.path, value_text(d.a), value_text(d.b))))
        parts += ["", table]
    else:
        parts.append(Text("The models are the same."))
    for table in _metric_tables(a, b, layout, comparable) + _cost_tables(a, b, layout):
        parts += ["", table]
    return [*parts, "", *map(_dim, _notes(comparable, design_of(a, b).sequential))]


def _metric_tables(a: Side, b: Side, layout: Layout, comparable: bool) -> list[Table]:
    rows = metric_rows(a, b)
    means: Columns = {"A": [], "B": []}
    for row in rows:
        pair = [e.scaled(row.metric.scale) for e in (row.a, row.b)]
        places = decimals([e.mean for e in pair], [e.half for e in pair])
        for column, estimate in zip(means.values(), pair, strict=True):
            column.append(_mean(estimate, places, row.difference.n))
    title = "A - B [95 %]" if comparable else "A - B"
    tests: Columns = {title: [_effect(row, comparable) for row in rows]}
    tests["n"] = [str(row.difference.n) for row in rows]
    if comparable:
        tests["p"] = [_p(row.difference.p) for row in rows]
    return layout.blocks("", [row.title for row in rows], [means, tests])


def _cost_tables(a: Side, b: Side, layout: Layout) -> list[Table]:
    names: list[str] = []
    columns: Columns = {"A": [], "B": [], "A / B": []}
    for row in cost_rows(a, b):
        size, unit = count_unit([max(row.a, row.b)])
        places = decimals([row.a / size, row.b / size], [])
        ratio = NONE if math.isnan(row.ratio) else f"{row.ratio:.3f}"
        cells = (f"{row.a / size:,.{places}f}", f"{row.b / size:,.{places}f}", ratio)
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
        names.append(f"{row.name} ({unit})" if unit else row.name)
    return layout.blocks("", names, [columns]) if names else []


def _notes(comparable: bool, sequential: bool) -> list[str]:
    intervals = SEQUENTIAL if sequential else T_INTERVALS
    test = "anytime-valid" if sequential else "two-sided"
    statistics = (
        f"{intervals} n: seeds that both arms have; A - B is paired over them. p: {test} paired "
        "t test, unadjusted, so it holds for one pair and one metric chosen beforehand, not for "
        "the smallest of many."
        if comparable
        else f"{intervals} n: seeds that both arms have; A - B is paired over them, without "
        "interval and p, because the scores are not comparable."
    )
    cost = (
        "MACs: multiply-accumulates of one forward pass of one sample, conditioning included. "
        "images/s is not compared, because it depends on the machine and its load."
    )
    return [statistics, cost]


def _mean(level: Estimate, places: int, pairs: int) -> str:
    """'2.45 ± 0.07', with '(n=3)' where the mean is over other seeds than the difference."""
    if level.n == 0:
        return NONE
    text = level_text(level, places)
    return text if level.n == pairs else f"{text} (n={level.n})"


def _effect(row: MetricRow, comparable: bool) -> str:
    effect = row.difference.scaled(row.metric.scale)
    if effect.n == 0:
        return NONE
    places = effect_decimals(effect)
    return effect_text(effect, places) if comparable else f"{effect.mean:+z.{places}f}"


def _p(p: float) -> str:
    """'.012', '< .001'."""
    return NONE if math.isnan(p) else p_text(p).removeprefix("p ").removeprefix("= ")


# ---- two runs ----------------------------------------------------------------------------------


def two_runs(a: Side, b: Side, layout: Layout) -> list[RenderableType]:
    """Agreement of equal trials, protocol, changed models, and the means of common arms."""
    equal = _agreement(agreement(a, b)) or [Text("The runs have no trial in common.")]
    parts = [*_sides(a, b), "", *equal, _protocol(run_differences(a, b))]
    both = arms(a, b)
    for difference, names in changed_models(a, b).items():
        where = "all arms" if names == both.common else ", ".join(names)
        parts.append(Text(f"Same arm, different model: {difference}: {where}.", style="yellow"))
    for table in _arm_tables(a, b, layout):
        parts += ["", table]
    parts.append("")
    for title, names in (("A", both.only_a), ("B", both.only_b)):
        if names:
            parts.append(Text(f"Only in {title}: {', '.join(names)}."))
    spread = "standard deviation" if design_of(a, b).sequential else "95 % Student-t interval"
    note = (
        f"±: {spread} over seeds. Trials are the same when their keys are equal: "
        "same model, data, training, sampling, metrics and seed."
    )
    return [*parts, _dim(note)]


def _arm_tables(a: Side, b: Side, layout: Layout) -> list[Table]:
    metrics = common_metrics(a, b)
    rows = arm_rows(a, b, [metric.name for metric in metrics])
    if not rows:
        return []
    groups: list[Columns] = [{"same\ntrials": [_of(row.same, row.of) for row in rows]}]
    for metric in metrics:
        pairs = [row.means[metric.name] for row in rows]
        groups.append(_mean_columns(metric, pairs))
    return layout.blocks("arm", [row.arm for row in rows], groups)


def _mean_columns(metric: Metric, pairs: list[tuple[Estimate, Estimate]]) -> Columns:
    """A metric's means in A and in B."""
    sides = [[e.scaled(metric.scale) for e in side] for side in zip(*pairs, strict=True)]
    both = [e for side in sides for e in side]
    places = decimals([e.mean for e in both], [e.half for e in both])
    return {
        f"{metric.title}\n{letter}": [_mean(e, places, e.n) for e in side]
        for letter, side in zip("AB", sides, strict=True)
    }


def _of(same: int, of: tuple[int, int]) -> str:
    """'3 of 3', '3 of 3 and 5'."""
    return f"{same} of {of[0]}" + (f" and {of[1]}" if of[0] != of[1] else "")


# ---- what both show ----------------------------------------------------------------------------


def _sides(a: Side, b: Side) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for letter, side in (("A", a), ("B", b)):
        trials = side.trials
        seeds = sorted({seed for _, seed in trials.values()})
        text = f"{letter}  {side.name}: {len(side.complete)} of {len(trials)} trials complete, "
        text += f"seeds {', '.join(map(str, seeds))}"
        if side.study_file == "changed":
            text += "; the study file has changed since"
        lines.append(Text(text, style="bold"))
    return lines


def _protocol(unequal: list[Difference]) -> Text:
    if not unequal:
        return Text("Data, training, sampling and feature extractors are the same.")
    return Text(
        "WARNING: the scores are not comparable; besides the model, A / B differ in "
        + "; ".join(map(str, unequal)),
        style="bold yellow",
    )


def _agreement(agreement: Agreement) -> list[Text]:
    """'30 of 30 trials are the same; 30 have equal metrics to the bit, ...', then the faults."""
    if not agreement.same:
        return []
    noun = "trial" if agreement.of == (1, 1) else "trials"
    verb = "is" if agreement.same == 1 else "are"
    text = f"{_of(agreement.same, agreement.of)} {noun} {verb} the same"
    if agreement.both < agreement.same:
        text += f", {agreement.both} of them complete in both"
    if not agreement.both:
        return [Text(f"{text}.")]
    counts = agreement.equal
    text += (
        f"; {counts['metrics']} have the same metrics to the bit, {counts['spec']} the same "
        f"spec, {counts['cost']} the same cost."
    )
    if not agreement.faults:
        return [Text(text, style="green")]
    lines = [f"MISMATCH: {line}" for line in agreement.faults[:FAULTS]]
    if len(agreement.faults) > FAULTS:
        lines.append(f"MISMATCH: and {len(agreement.faults) - FAULTS} more")
    if agreement.environments:
        environments = "; ".join(map(str, agreement.environments))
        lines.append(f"Environments of mismatching trials differ: {environments}")
    return [Text(line, style="bold red") for line in [text, *lines]]


def _dim(line: str) -> Text:
    return Text(line, style="dim")
