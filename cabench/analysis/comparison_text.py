"""A comparison as it is printed: tables on a terminal, plain columns into a file or pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cabench.analysis.comparison import (
    Agreement,
    Difference,
    Side,
    agreement,
    arm_rows,
    arms,
    changed_models,
    common_metrics,
    cost_rows,
    metric_named,
    metric_rows,
    model_differences,
    protocol_differences,
    run_differences,
    value_text,
)
from cabench.analysis.labels import count_unit, decimals, p_text
from cabench.analysis.tables import as_text
from cabench.evidence.metric import SUPPORT, Metric
from cabench.evidence.statistics import Estimate
from cabench.runtime.console import screen

Columns = dict[str, list[str]]  # title -> cells
NONE = "-"
FAULTS = 10  # of trials that disagree, printed


def show(a: Side, b: Side, console: Console | None = None) -> None:
    """Print the comparison of two arms, or of two runs where the sides name no arm."""
    console = console or screen()
    told = two_runs if a.arm is None else two_arms
    if console.is_terminal:
        console.print(*told(a, b, Layout(console.width, ruled=True)), sep="\n")
    else:
        width = int(console._environ.get("COLUMNS", 120))
        console.file.write(as_text(told(a, b, Layout(width)), width, console.encoding))


@dataclass(frozen=True)
class Layout:
    """Tables with a rule on a terminal, bare columns elsewhere, in blocks that fit the width."""

    width: int
    ruled: bool = False

    def blocks(self, title: str, lead: list[str], groups: list[Columns]) -> list[Table]:
        """Columns led by `lead`, in as few tables as fit; the columns of a group stay together."""
        parts: list[Columns] = []
        for group in groups:
            if parts and _wide({title: lead} | parts[-1] | group) <= self.width:
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
        """Nothing is cut: what is too wide wraps."""
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


def _wide(columns: Columns) -> int:
    """The width of a table: each column's longest line, and two between columns."""
    lines = [[*title.split("\n"), *cells] for title, cells in columns.items()]
    return sum(max(map(len, column)) for column in lines) + 2 * (len(columns) - 1)


# ---- two arms ----------------------------------------------------------------------------------


def two_arms(a: Side, b: Side, layout: Layout) -> list[Any]:
    one, other = a.done[0], b.done[0]
    unlike = protocol_differences(one, other)
    parts = [*_sides(a, b), "", _protocol(unlike), *_agreement(agreement(a, b))]
    models = model_differences(one, other)
    if models:
        table = layout.table("the models differ in", "A", "B")
        for d in models:
            table.add_row(*map(Text, (d.path, value_text(d.a), value_text(d.b))))
        parts += ["", table]
    else:
        parts.append(Text("The models are the same."))
    for table in _metric_tables(a, b, layout, bool(unlike)) + _cost_tables(a, b, layout):
        parts += ["", table]
    return [*parts, "", *(_dim(line) for line in _notes(bool(unlike)))]


def _metric_tables(a: Side, b: Side, layout: Layout, unlike: bool) -> list[Table]:
    rows = metric_rows(a, b)
    means: Columns = {"A": [], "B": []}
    for row in rows:
        m, pair = row.metric, (row.a, row.b)
        places = decimals([e.mean * m.scale for e in pair], [e.half * m.scale for e in pair])
        for column, estimate in zip(means.values(), pair, strict=True):
            column.append(_mean(estimate, m, places, row.difference.n))
    differences = [_difference(row.difference, row.metric, interval=not unlike) for row in rows]
    tests: Columns = {"A - B" if unlike else "A - B [95 %]": differences}
    tests["n"] = [str(row.difference.n) for row in rows]
    if not unlike:
        tests["p"] = [_p(row.difference.p) for row in rows]
    return layout.blocks("", [row.title for row in rows], [means, tests])


def _cost_tables(a: Side, b: Side, layout: Layout) -> list[Table]:
    names, columns = [], {"A": [], "B": [], "A / B": []}
    for row in cost_rows(a, b):
        size, unit = count_unit([max(row.a, row.b)])
        places = decimals([row.a / size, row.b / size], [])
        ratio = f"{row.ratio:.3f}" if row.ratio == row.ratio else NONE
        cells = (f"{row.a / size:,.{places}f}", f"{row.b / size:,.{places}f}", ratio)
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
        names.append(f"{row.name} ({unit})" if unit else row.name)
    return layout.blocks("", names, [columns]) if names else []


def _notes(unlike: bool) -> list[str]:
    text = (
        "± and [ ]: 95 % Student-t interval over seeds. n: seeds that both have, over which "
        "A - B is paired"
    )
    if unlike:
        text += "; neither interval nor p is given for it, since the scores do not compare."
    else:
        text += (
            ". p: two-sided paired t, unadjusted: right for one look at one pair and one metric "
            "that were chosen before, not for the smallest of many."
        )
    cost = (
        "MAC: one multiply-accumulate, of one forward of one sample, conditioning included. "
        "images/s is not compared: it tells of the machine and its load."
    )
    return [text, cost]


def _mean(estimate: Estimate, metric: Metric, places: int, pairs: int) -> str:
    if estimate.n == 0:
        return NONE
    text = f"{estimate.mean * metric.scale:.{places}f}"
    if estimate.n > 1:
        text += f" ± {estimate.half * metric.scale:.{places}f}"
    return text if estimate.n == pairs else f"{text} (n={estimate.n})"


def _difference(found: Estimate, metric: Metric, interval: bool) -> str:
    if found.n == 0:
        return NONE
    diff, low, high = (x * metric.scale for x in (found.mean, found.low, found.high))
    places = decimals([diff], [(high - low) / 2], digits=2)
    text = f"{diff:+z.{places}f}"
    return text + (f" [{low:+z.{places}f}, {high:+z.{places}f}]" if interval and low == low else "")


def _p(p: float) -> str:
    return p_text(p).removeprefix("p ").removeprefix("= ") if p == p else NONE


# ---- two runs ----------------------------------------------------------------------------------


def two_runs(a: Side, b: Side, layout: Layout) -> list[Any]:
    same = _agreement(agreement(a, b)) or [Text("No trial is the same.")]
    parts = [*_sides(a, b), "", *same]
    parts.append(_protocol(run_differences(a, b)))
    common = arms(a, b)
    for difference, names in changed_models(a, b).items():
        where = "all arms" if names == common.common else ", ".join(names)
        parts.append(Text(f"Models of one name differ: {difference}: {where}.", style="yellow"))
    for table in _arm_tables(a, b, layout):
        parts += ["", table]
    parts.append("")
    for title, names in (("A", common.only_a), ("B", common.only_b)):
        if names:
            parts.append(Text(f"Only in {title}: {', '.join(names)}."))
    note = (
        "±: 95 % Student-t interval over seeds. Trials are the same when their keys are: model, "
        "data, training, sampling, scores and seed."
    )
    return [*parts, _dim(note)]


def _arm_tables(a: Side, b: Side, layout: Layout) -> list[Table]:
    metrics = [metric_named(a.manifest, name) for name in common_metrics(a, b, SUPPORT)]
    rows = arm_rows(a, b, [metric.name for metric in metrics])
    groups: list[Columns] = [{"same\ntrials": [_of(row.same, row.of) for row in rows]}]
    for metric in metrics:
        pairs = [row.means[metric.name] for row in rows]
        known = [e for pair in pairs for e in pair]
        places = decimals(
            [e.mean * metric.scale for e in known], [e.half * metric.scale for e in known]
        )
        groups.append(
            {
                f"{metric.title}\n{title}": [
                    _mean(pair[i], metric, places, pair[i].n) for pair in pairs
                ]
                for i, title in enumerate("AB")
            }
        )
    return layout.blocks("arm", [row.arm for row in rows], groups) if rows else []


def _of(same: int, of: tuple[int, int]) -> str:
    """'3 of 3', '3 of 3 and 5'."""
    return f"{same} of {of[0]}" + (f" and {of[1]}" if of[0] != of[1] else "")


# ---- what both show ----------------------------------------------------------------------------


def _sides(a: Side, b: Side) -> list[Text]:
    lines = []
    for letter, side in (("A", a), ("B", b)):
        trials, done = side.trials, len(side.done)
        seeds = sorted({seed for _, seed in trials.values()})
        text = f"{letter}  {side.name}: {done} of {len(trials)} trials done, seeds "
        text += ", ".join(map(str, seeds))
        text += "; the study file has changed since" if side.study_file == "changed" else ""
        lines.append(Text(text, style="bold"))
    return lines


def _protocol(unlike: list[Difference]) -> Text:
    if not unlike:
        return Text("Data, training, sampling and feature extractor are the same.")
    told = "; ".join(map(str, unlike))
    return Text(
        f"WARNING: the scores do not compare; besides the model, A / B differ in {told}",
        style="bold yellow",
    )


def _agreement(found: Agreement) -> list[Text]:
    """'30 of 30 trials are the same; 30 have the same metrics to the bit, ...', then the faults."""
    if not found.same:
        return []
    is_one = found.same == 1
    text = f"{_of(found.same, found.of)} trials {'is' if is_one else 'are'} the same"
    if found.both < found.same:
        text += f", {found.both} of them finished in both"
    if not found.both:
        return [Text(text + ".")]
    counts = found.equal
    text += (
        f"; {counts['metrics']} have the same metrics to the bit, {counts['spec']} the same "
        f"spec, {counts['cost']} the same cost."
    )
    if not found.faults:
        return [Text(text, style="green")]
    lines = [f"MISMATCH: {line}" for line in found.faults[:FAULTS]]
    if len(found.faults) > FAULTS:
        lines.append(f"MISMATCH: and {len(found.faults) - FAULTS} more")
    if found.environments:
        lines.append(
            "Where they mismatch, environments differ: " + "; ".join(map(str, found.environments))
        )
    return [Text(line, style="bold red") for line in [text, *lines]]


def _dim(line: str) -> Text:
    return Text(line, style="dim")
