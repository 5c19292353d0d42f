"""Runs studies of kind `cost` and `timing`: tables, a figure, and claims about ratios.

Counts are exact. Times are ratios that are measured in one process on one thread, in alternation;
they are not trial records and are not compared across machines.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cabench.config.cost_study import (
    COUNTED,
    LAYER_RATIOS,
    TIMED,
    Claim,
    CostStudy,
    Model,
    arms_on,
    read_cost_study,
    split,
)
from cabench.config.yaml import located
from cabench.cost import timing
from cabench.cost.macs import meta_macs
from cabench.cost.timing import Ratio
from cabench.planning.methods import Network
from cabench.planning.models import ResolvedModel, resolve_models
from cabench.planning.references import check_cost_study
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import BACKBONES
from cabench.runtime.console import wide_screen
from cabench.runtime.environment import environment
from cabench.runtime.files import write_csv, write_json

Rows = list[dict[str, Any]]  # of a CSV file
Key = tuple[str, str]  # model and arm, or layer and form
Ratios = dict[tuple[str, Key, Key], Ratio]  # (metric, of, over) -> ratio of times
Models = dict[Key, ResolvedModel]

NOTE = (
    "MACs: batch 1, one network evaluation, a fused multiply-add counts once; conditioning "
    "included, norms and activations excluded; counted by FlopCounterMode on the meta device."
)
TIMES = (
    "Times: ratios within one process on one thread of one machine, {few} to {many} alternating "
    "rounds: median and 95 % confidence interval of the median."
)


def run_cost(
    path: Path,
    results: Path,
    dry: bool = False,
    arms: Iterable[str] = (),
    plugins: Iterable[Path] = (),
) -> int:
    """Count, time if the study says so, print and write; return 0 whatever the verdicts.

    `dry`: count and print, but neither time nor write. `arms` and `plugins`: as for `cabench run`.
    """
    load_plugins(read_plugins(plugins))
    file = read_cost_study(path, arms)
    study = file.study
    console = wide_screen()
    console.print(f"{study.study}: {study.question}", soft_wrap=True)
    with located(file.document):
        check_cost_study(study)
        models = resolve(study)
    table = rows(study, models)
    ratios = measure(study, models, console) if study.kind == "timing" and not dry else {}
    add_times(study, table, ratios)
    layers = layer_rows(ratios)
    verdicts = [verdict(claim, table, ratios) for claim in study.claims]
    notes = list(filter(None, [NOTE, note_on_times(ratios), study.caveat]))
    show(study, table, layers, verdicts, notes, console)
    if not dry:
        paths = write(results / study.study, study, table, layers, verdicts, notes)
        console.print("\nWritten:", *(f"  {p}" for p in paths), sep="\n", soft_wrap=True)
    return 0


# ---- counts and times ---------------------------------------------------------------------------


def resolve(study: CostStudy) -> Models:
    """The resolved model of each model x arm, with sizes matched."""
    models: Models = {}
    for name, model in study.models.items():
        network = Network(
            backbone=model.backbone,
            preset=model.preset,
            patch=model.patch,
            shape=model.shape,
            classes={"label": model.classes},
            needs=["label"],
            profile=study.profile,
            embedder=study.embedder,
        )
        arms = {arm: study.arms[arm] for arm in arms_on(study, model)}
        resolved = resolve_models(arms, network)
        models |= {(name, arm): resolved[arm] for arm in arms}
    return models


def rows(study: CostStudy, models: Models) -> Rows:
    """Counts of every model x arm, absolute and relative to the baseline's."""
    counts = {key: meta_macs(model.spec) for key, model in models.items()}
    params = {key: model.parameters.total for key, model in models.items()}
    table = []
    for key, macs in counts.items():
        model, arm = key
        base = (model, study.baseline)
        table.append(
            {
                "model": model,
                "arm": arm,
                "macs": macs.total,
                "conditioning_macs": macs.conditioning,
                "params": params[key],
                "macs_ratio": macs.total / counts[base].total,
                "params_ratio": params[key] / params[base],
                "describe": describe(study.models[model], models[key]),
            }
        )
    return table


def describe(model: Model, resolved: ResolvedModel) -> str:
    """The model's size in words."""
    return BACKBONES.get(model.backbone).describe(resolved.spec.backbone.dump())


def measure(study: CostStudy, models: Models, console: Console) -> Ratios:
    """Ratios of times: each arm's over the baseline's, and between the forms of a layer."""
    ratios: Ratios = {}
    builders = {
        "step": timing.step_of,
        "sampling": timing.sampling_of,
        "latency": lambda spec, _: timing.sampling_of(spec, 1),
    }
    for name, model in study.models.items():
        if model.batch is None:
            continue
        specs = {arm: models[name, arm].spec for arm in arms_on(study, model)}
        for metric in TIMED:
            batch = 1 if metric == "latency" else model.batch
            console.print(f"timing {name}, {metric}, batch {batch}")
            work = {arm: builders[metric](spec, model.batch) for arm, spec in specs.items()}
            seconds = timing.alternate(work, study.rounds, study.seconds)
            for arm in specs:
                key = metric, (name, arm), (name, study.baseline)
                ratios[key] = timing.ratio(seconds[arm], seconds[study.baseline])
    for name, layer in study.layers.items():
        console.print(f"timing {name}")
        seconds = timing.alternate(timing.layer_of(layer), study.rounds, study.seconds)
        for of, over in LAYER_RATIOS:
            ratios["layer", (name, of), (name, over)] = timing.ratio(seconds[of], seconds[over])
    return ratios


def add_times(study: CostStudy, table: Rows, ratios: Ratios) -> None:
    """Adds the columns METRIC_ratio, METRIC_low and METRIC_high to the rows that were timed."""
    for row in table:
        key = (row["model"], row["arm"]), (row["model"], study.baseline)
        for metric in TIMED:
            if ratio := ratios.get((metric, *key)):
                row[f"{metric}_ratio"] = ratio.median
                row[f"{metric}_low"] = ratio.low
                row[f"{metric}_high"] = ratio.high


def layer_rows(ratios: Ratios) -> Rows:
    """A row per ratio between two forms of a layer."""
    return [
        {
            "layer": of[0],
            "of": of[1],
            "over": over[1],
            "ratio": ratio.median,
            "low": ratio.low,
            "high": ratio.high,
            "rounds": ratio.rounds,
        }
        for (metric, of, over), ratio in ratios.items()
        if metric == "layer"
    ]


# ---- claims -------------------------------------------------------------------------------------


def verdict(claim: Claim, table: Rows, ratios: Ratios) -> dict[str, Any]:
    """The ratio that a claim is about, and: supported, contradicted or unresolved, and by what."""
    of, over = split(claim.of), split(claim.over)
    row = {"id": claim.id, "says": claim.says, "paper": claim.paper}
    if claim.metric in COUNTED:
        counts = {(r["model"], r["arm"]): r[claim.metric] for r in table}
        ratio = counts[of] / counts[over]
        word = "supported" if within(claim, ratio) else "contradicted"
        how = "by construction" if claim.by_construction else "by counting"
        return row | {"found": f"{ratio:.3g}x", "verdict": f"{word} {how}"}
    measured = ratios.get((claim.metric, of, over))
    if measured is None:
        return row | {"found": "", "verdict": "not tested"}
    ends = {within(claim, measured.low), within(claim, measured.high)}
    word = "unresolved" if len(ends) > 1 else "supported" if True in ends else "contradicted"
    return row | {"found": cell(measured), "verdict": f"{word}, on this machine"}


def within(claim: Claim, ratio: float) -> bool:
    """Is the ratio on the side of its limit that the claim says?"""
    if claim.most is not None:
        return ratio <= claim.most
    return claim.least is not None and ratio >= claim.least


def cell(ratio: Ratio) -> str:
    """'1.06x [1.00, 1.12]'."""
    return f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def note_on_times(ratios: Ratios) -> str:
    """How times are measured; empty if nothing is timed."""
    rounds = {ratio.rounds for ratio in ratios.values()}
    return TIMES.format(few=min(rounds), many=max(rounds)) if rounds else ""


# ---- output -------------------------------------------------------------------------------------


def show(
    study: CostStudy,
    table: Rows,
    layers: Rows,
    verdicts: Rows,
    notes: list[str],
    console: Console,
) -> None:
    """Print the tables, verdicts and notes of a cost study."""
    if table:
        console.print("", arms_table(study, table), sep="\n")
    if layers:
        console.print("", layers_table(layers), sep="\n")
    if verdicts:
        console.print("", claims_table(verdicts), sep="\n")
    for note in notes:
        console.print(note, soft_wrap=True)


def new_table() -> Table:
    """An empty table without borders."""
    return Table(box=None, pad_edge=False, header_style="bold")


def arms_table(study: CostStudy, table: Rows) -> Table:
    """Costs of every model and arm."""
    screen = new_table()
    screen.add_column("model", no_wrap=True)
    screen.add_column("arm", no_wrap=True)
    times = TIMED if any("step_ratio" in row for row in table) else ()
    for title in ("GMACs", "ratio", "params", "ratio", *times):
        screen.add_column(title, justify="right", no_wrap=True)
    before = ""
    for row in table:
        cells = [
            f"{row['macs'] / 1e9:.4g}",
            f"{row['macs_ratio']:.3f}",
            f"{row['params'] / 1e6:.4g}M",
            f"{row['params_ratio']:.2f}",
        ]
        for metric in times:
            cells.append(f"{row[f'{metric}_ratio']:.2f}" if f"{metric}_ratio" in row else "")
        screen.add_row(row["model"] if row["model"] != before else "", row["arm"], *cells)
        before = row["model"]
    return screen


def layers_table(layers: Rows) -> Table:
    """Ratios between the forms of each layer."""
    screen = new_table()
    for title in ("layer", "of / over"):
        screen.add_column(title, no_wrap=True)
    screen.add_column("ratio", justify="right", no_wrap=True)
    for row in layers:
        ratio = Ratio(row["ratio"], row["low"], row["high"], row["rounds"])
        screen.add_row(row["layer"], f"{row['of']} / {row['over']}", cell(ratio))
    return screen


def claims_table(verdicts: Rows) -> Table:
    """Claims with their measured ratios and verdicts."""
    screen = new_table()
    for title in ("claim", "what is tested", "measured", "verdict"):
        screen.add_column(title)
    for row in verdicts:
        screen.add_row(row["id"], row["says"], row["found"], row["verdict"])
    return screen


def write(
    folder: Path,
    study: CostStudy,
    table: Rows,
    layers: Rows,
    verdicts: Rows,
    notes: list[str],
) -> list[Path]:
    """Writes counts and ratios as CSV, everything with machine and versions as JSON, the figure."""
    from cabench.analysis.figures.overhead import overhead

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in (("table.csv", table), ("layers.csv", layers)):
        if content:
            write_csv(folder / name, content)
            paths.append(folder / name)
    result = {
        "study": study.study,
        "question": study.question,
        "kind": study.kind,
        "rows": table,
        "layers": layers,
        "claims": verdicts,
        "notes": notes,
        "environment": environment("cpu"),
        "date": datetime.date.today().isoformat(),
    }
    write_json(folder / "result.json", result)
    paths.append(folder / "result.json")
    if table:
        paths += overhead(folder / "overhead", study, table)
    return paths
