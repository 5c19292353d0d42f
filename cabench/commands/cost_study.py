"""Runs studies of kind `cost` and `timing`: tables, figure, and claims about ratios.

Counts hold by construction. Times are ratios measured in one run on one thread, alternating: they
are no trial records, and are not compared across machines.
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
    CostFile,
    CostStudy,
    Model,
    arms_on,
    read_cost_study,
)
from cabench.config.schema import BackboneChoice, Scale, Study
from cabench.config.study import StudyFile
from cabench.cost import timing
from cabench.cost.macs import meta_macs, parameter_counts
from cabench.cost.timing import Ratio
from cabench.models.model import BACKBONES
from cabench.planning.data import DataRef
from cabench.planning.models import resolve_models
from cabench.plugins import load_plugins, read_plugins
from cabench.runtime.console import wide_screen
from cabench.runtime.environment import environment
from cabench.runtime.files import write_csv, write_json

Rows = list[dict[str, Any]]
Key = tuple[str, str]  # model, arm; or layer, form


def specs(file: CostFile) -> dict[Key, dict[str, Any]]:
    """The resolved model of each model x arm, sizes matched."""
    study = file.study
    made: dict[Key, dict[str, Any]] = {}
    for name, model in study.models.items():
        arms = {n: study.arms[n] for n in arms_on(study, model)}
        asked = Study.model_construct(
            study=study.study,
            question=study.question,
            needs=["label"],
            arms=arms,
            backbones=[model.backbone],
            embedder=study.embedder,
            baseline=study.baseline,
        )
        read = StudyFile(file.path, file.content, asked, "", model.backbone, file.added)
        choice = BackboneChoice(preset=model.preset, patch=model.patch)
        scale = Scale.model_construct(scale=name, backbones={model.backbone: choice})
        data = DataRef("", {}, None, model.shape, {"label": model.classes}, {}, False)
        for arm, spec in resolve_models(read, scale, data).items():
            made[name, arm] = spec
    return made


def rows(study: CostStudy, found: dict[Key, dict[str, Any]]) -> Rows:
    """Counts of every model x arm, as they are and over the baseline's."""
    counts = {key: meta_macs(spec) for key, spec in found.items()}
    params = {key: parameter_counts(spec) for key, spec in found.items()}
    made = []
    for (model, arm), macs in counts.items():
        base = (model, study.baseline)
        made.append(
            {
                "model": model,
                "arm": arm,
                "macs": macs["total"],
                "conditioning_macs": macs["conditioning"],
                "params": params[model, arm]["total"],
                "macs_ratio": macs["total"] / counts[base]["total"],
                "params_ratio": params[model, arm]["total"] / params[base]["total"],
                "describe": describe(study.models[model], found[model, arm]),
            }
        )
    return made


def describe(model: Model, spec: dict[str, Any]) -> str:
    return BACKBONES.get(model.backbone).describe(spec["backbone"])


def measure(
    study: CostStudy, found: dict[Key, dict[str, Any]], console: Console
) -> dict[tuple[str, Key, Key], Ratio]:
    """Ratios of times: (metric, of, over) for each arm over the baseline, and layers' forms."""
    ratios: dict[tuple[str, Key, Key], Ratio] = {}
    builders = {
        "step": timing.step_of,
        "sampling": timing.sampling_of,
        "latency": lambda spec, _: timing.sampling_of(spec, 1),
    }
    for name, model in study.models.items():
        if model.batch is None:
            continue
        arms = arms_on(study, model)
        for metric in TIMED:
            batch = 1 if metric == "latency" else model.batch
            console.print(f"timing {name}, {metric}, batch {batch}")
            work = {arm: builders[metric](found[name, arm], model.batch) for arm in arms}
            spent = timing.alternate(work, study.rounds, study.seconds)
            for arm in arms:
                key = metric, (name, arm), (name, study.baseline)
                ratios[key] = timing.ratio(spent[arm], spent[study.baseline])
    for name, layer in study.layers.items():
        console.print(f"timing {name}")
        spent = timing.alternate(timing.layer_of(layer), study.rounds, study.seconds)
        for of, over in LAYER_RATIOS:
            ratios["layer", (name, of), (name, over)] = timing.ratio(spent[of], spent[over])
    return ratios


def verdict(claim: Claim, table: Rows, ratios: dict[tuple[str, Key, Key], Ratio]) -> dict[str, Any]:
    """What was found of a claim, and: supported, contradicted or unresolved, by what."""
    of, over = (tuple(side.rsplit(":", 1)) for side in (claim.of, claim.over))
    told = {"id": claim.id, "says": claim.says, "paper": claim.paper}
    if claim.metric in COUNTED:
        counts = {(r["model"], r["arm"]): r[claim.metric] for r in table}
        found = counts[of] / counts[over]
        holds = found <= claim.most if claim.most is not None else found >= claim.least
        word = "supported" if holds else "contradicted"
        how = "by construction" if claim.by_construction else "by counting"
        return told | {"found": f"{found:.3g}x", "verdict": f"{word} {how}"}
    measured = ratios.get((claim.metric, of, over))
    if measured is None:
        return told | {"found": "", "verdict": "not tested"}
    if claim.most is not None:
        inside, outside = measured.high <= claim.most, measured.low > claim.most
    else:
        inside, outside = measured.low >= claim.least, measured.high < claim.least
    word = "supported" if inside else "contradicted" if outside else "unresolved"
    return told | {"found": cell(measured), "verdict": f"{word}, on this machine"}


def cell(r: Ratio) -> str:
    return f"{r.median:.2f}x [{r.low:.2f}, {r.high:.2f}]"


def run_cost(
    path: Path,
    results: Path,
    dry: bool = False,
    arms: Iterable[str] = (),
    plugins: Iterable[Path] = (),
) -> int:
    """Counts, times where it is asked, prints and writes; a verdict is no failure: 0.

    `dry`: counts and prints, measures and writes nothing. `arms` and `plugins` as for a study that
    trains.
    """
    from cabench.analysis.figures.overhead import overhead

    load_plugins(read_plugins(plugins))
    file = read_cost_study(path, arms)
    study = file.study
    console = wide_screen()
    console.print(f"{study.study}: {study.question}", soft_wrap=True)
    found = specs(file)
    table = rows(study, found)
    ratios = measure(study, found, console) if study.kind == "timing" and not dry else {}
    for r in table:
        key = (r["model"], r["arm"]), (r["model"], study.baseline)
        for metric in TIMED:
            if (measured := ratios.get((metric, *key))) is not None:
                r |= {
                    f"{metric}_ratio": measured.median,
                    f"{metric}_low": measured.low,
                    f"{metric}_high": measured.high,
                }
    layers = [
        {
            "layer": of[0],
            "of": of[1],
            "over": over[1],
            "ratio": r.median,
            "low": r.low,
            "high": r.high,
            "rounds": r.rounds,
        }
        for (metric, of, over), r in ratios.items()
        if metric == "layer"
    ]
    judged = [verdict(claim, table, ratios) for claim in study.claims]
    tables = [arms_table(study, table)] * bool(table) + [layers_table(layers)] * bool(layers)
    tables += [claims_table(judged)] * bool(judged)
    for each in tables:
        console.print()
        console.print(each)
    rounds = {r.rounds for r in ratios.values()}
    times = [TIMES.format(few=min(rounds), many=max(rounds))] if rounds else []
    notes = [*NOTES, *times, study.caveat]
    for note in filter(None, notes):
        console.print(note, soft_wrap=True)
    if dry:
        return 0
    folder = results / study.study
    written = write(folder, study, table, layers, judged, notes)
    if table:
        written += overhead(folder / "overhead", study, table)
    console.print("\nWritten:", *(f"  {p}" for p in written), sep="\n", soft_wrap=True)
    return 0


NOTES = [
    "MACs: batch 1, one network evaluation, a fused multiply-add counts once; conditioning "
    "included, norms and activations not; counted by FlopCounterMode on the meta device."
]
TIMES = (
    "Times: ratios of one run on one thread of one machine, {few} to {many} alternating rounds: "
    "median, and the interval that holds it with 95 % confidence."
)


def arms_table(study: CostStudy, table: Rows) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("model", no_wrap=True)
    made.add_column("arm", no_wrap=True)
    timed = any("step_ratio" in r for r in table)
    for title in ("GMACs", "ratio", "params", "ratio", *(TIMED if timed else ())):
        made.add_column(title, justify="right", no_wrap=True)
    before = ""
    for r in table:
        cells = [
            f"{r['macs'] / 1e9:.4g}",
            f"{r['macs_ratio']:.3f}",
            f"{r['params'] / 1e6:.4g}M",
            f"{r['params_ratio']:.2f}",
        ]
        for metric in TIMED if timed else ():
            cells.append(f"{r[f'{metric}_ratio']:.2f}" if f"{metric}_ratio" in r else "")
        made.add_row(r["model"] if r["model"] != before else "", r["arm"], *cells)
        before = r["model"]
    return made


def layers_table(layers: Rows) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("layer", "of / over"):
        made.add_column(title, no_wrap=True)
    made.add_column("ratio", justify="right", no_wrap=True)
    for r in layers:
        made.add_row(
            r["layer"],
            f"{r['of']} / {r['over']}",
            cell(Ratio(r["ratio"], r["low"], r["high"], r["rounds"])),
        )
    return made


def claims_table(judged: Rows) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("claim", "what is tested", "found", "verdict"):
        made.add_column(title)
    for j in judged:
        made.add_row(j["id"], j["says"], j["found"], j["verdict"])
    return made


def write(
    folder: Path, study: CostStudy, table: Rows, layers: Rows, judged: Rows, notes: list[str]
) -> list[Path]:
    """CSV of counts and ratios, and everything with machine and versions as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in (("table.csv", table), ("layers.csv", layers)):
        if not content:
            continue
        write_csv(folder / name, content)
        written.append(folder / name)
    told = {
        "study": study.study,
        "question": study.question,
        "kind": study.kind,
        "rows": table,
        "layers": layers,
        "claims": judged,
        "notes": [n for n in notes if n],
        "environment": environment("cpu"),
        "date": datetime.date.today().isoformat(),
    }
    write_json(folder / "result.json", told)
    return [*written, folder / "result.json"]
