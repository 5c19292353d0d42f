"""`cabench audit --graded`: how strong a corruption must be to cost as much as shorter training."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cabench.analysis.figures.graded import graded
from cabench.commands.compare import find_side, parse
from cabench.data import Dataset, load_dataset
from cabench.diffusion.checkpoints import load
from cabench.errors import CabenchError
from cabench.evidence.statistics import Estimate, paired_difference
from cabench.metrics.graded import (
    GRADED,
    GradedRow,
    Sets,
    measure_graded,
    real_sets,
    strength_that_costs,
)
from cabench.metrics.scorer import SampleScorer
from cabench.records.store import Store
from cabench.registry import METRICS
from cabench.runtime.console import screen
from cabench.runtime.files import atomic_path

Costs = dict[str, Estimate]  # metric -> what shorter training costs, positive is worse


def show_graded(
    data: str,  # a data set
    n: int,  # images in a set
    draws: int,  # sets
    chosen: tuple[str, ...],  # metrics
    shorter: str | None,  # an arm trained on fewer images, [DIRECTORY/]STUDY[.SCALE]:ARM
    longer: str | None,  # the same arm trained on more
    of_samples: bool,  # corrupt the saved samples of `longer`, a set per seed, not real images
    results: Path,
    cache: Path,
    out: Path,  # directory
) -> int:
    """Print the changes of each metric; write them as CSV, Markdown and figure."""
    if (shorter is None) != (longer is None):
        raise CabenchError("--shorter, --longer: expected both or neither")
    if of_samples and longer is None:
        raise CabenchError("--samples: expected --longer, the arm whose samples are corrupted")
    costs, unit = {}, ""
    if shorter is not None and longer is not None:
        costs, unit = training_costs(shorter, longer, chosen, results)
    console = screen()
    began = time.perf_counter()
    dataset = load_dataset(data)
    if of_samples and longer is not None:
        scorer, sets = saved_sets(longer, dataset, chosen, results, cache)
    else:
        scorer, sets = real_sets(dataset, n, draws, cache, chosen)
    rows = measure_graded(scorer, sets, lambda text: console.print(text))
    name = f"graded{'.samples' if of_samples else ''}.{data}"
    csv, md = (out / f"{name}.{end}" for end in ("csv", "md"))
    frame = pd.DataFrame([asdict(row) for row in rows])
    with atomic_path(csv) as part:
        frame.to_csv(part, index=False)
    command = f"cabench audit {data} --graded"
    command += " --samples" if of_samples else f" --n {n} --sets {draws}"
    command += f" --shorter {shorter} --longer {longer}" if costs else ""
    what = "real images from one half of the report split, compared with the other half"
    if of_samples:
        what = f"samples of {longer}, a set per seed"
    text = markdown(rows, command, what, costs, unit)
    with atomic_path(md) as part:
        part.write_text(text, encoding="utf-8")
    figures = graded(out / name, frame, what, {k: e.mean for k, e in costs.items()})
    console.print(text.split("\n## Scores")[0], soft_wrap=True)
    console.print(f"measured in {time.perf_counter() - began:.0f} s", soft_wrap=True)
    console.print(
        "Written:", *(f"  {path}" for path in (csv, md, *figures)), sep="\n", soft_wrap=True
    )
    return 0


def saved_sets(
    text: str, dataset: Dataset, chosen: tuple[str, ...], results: Path, cache: Path
) -> tuple[SampleScorer, Sets]:
    """The saved samples of an arm, a set per seed, and their scorer."""
    side = find_side(parse(text, results))
    store = Store(results, cache)
    sizes, images = set(), []
    for record in side.complete:
        if record.spec.train.data.fingerprint != dataset.fingerprint:
            raise CabenchError(f"--longer: {side.name} has other data than '{dataset.name}'")
        saved = load(store.samples(record.spec.sample_key(record.spec.guidance)))
        if saved is None:
            raise CabenchError(f"--samples: those of {side.name} are not in {cache}")
        sizes.add(record.spec.sample.n)
        images.append(saved[0]["images"].numpy())
    scorer = SampleScorer(dataset, sizes.pop(), cache, metrics=chosen)
    return scorer, [(each, scorer.labels) for each in images]


def training_costs(
    shorter: str, longer: str, chosen: tuple[str, ...], results: Path
) -> tuple[Costs, str]:
    """What each metric loses when an arm trains on fewer images, paired by seed; and in words."""
    sides = [find_side(parse(text, results)) for text in (shorter, longer)]
    images = [{r.spec.images for r in side.complete} for side in sides]
    if any(len(each) != 1 for each in images) or min(images[0]) >= min(images[1]):
        raise CabenchError(
            f"--shorter, --longer: expected an arm at two lengths, the first of fewer images, got "
            f"{sorted(images[0])} and {sorted(images[1])} images"
        )
    costs = {}
    for metric in chosen:
        sign = -1.0 if METRICS.get(metric).higher_is_better else 1.0
        few, many = (
            pd.Series(
                {
                    record.spec.train.seed: sign * record.metrics[metric]
                    for record in side.complete
                    if metric in record.metrics
                },
                dtype=float,
            )
            for side in sides
        )
        if (estimate := paired_difference(few, many)).n:
            costs[metric] = estimate
    few, many = min(images[0]), min(images[1])
    return costs, f"{1 - few / many:.0%} less training ({few:,} instead of {many:,} images)"


def markdown(rows: list[GradedRow], command: str, what: str, costs: Costs, unit: str) -> str:
    """The strengths that cost as much as shorter training, then the changes at every strength."""
    one = rows[0]
    sections = [
        f"# Graded corruptions on {one.data}",
        f"`{command}`: {one.sets} sets of n = {one.n:,} {what}.",
    ]
    if costs:
        sections.append(
            f"## As much as {unit}\n\nThe strength of each corruption that makes a metric worse by "
            "as much; a small strength means a sensitive metric. In brackets: the 95 % interval of "
            "the change with less training over seeds.\n\n" + strengths_table(rows, costs)
        )
    sections.append("## Scores by strength\n\n" + changes_table(rows))
    described = {name: (entry.apply.__doc__ or "").split("\n")[0] for name, entry in GRADED.items()}
    sections.append(
        "## Corruptions\n\n"
        + "\n".join(f"- {name} ({GRADED[name].unit}): {text}" for name, text in described.items())
    )
    return "\n\n".join(sections) + "\n"


def strengths_table(rows: list[GradedRow], costs: Costs) -> str:
    """The strength of each corruption that costs a metric as much as shorter training."""
    titles = [f"{name} ({entry.unit})" for name, entry in GRADED.items()]
    lines = [
        "| metric | change with less training | " + " | ".join(titles) + " |",
        "|---|---:|" + "---:|" * len(titles),
    ]
    for metric, cost in costs.items():
        own = [row for row in rows if row.metric == metric]
        interval = f" [{cost.low:+.3g}, {cost.high:+.3g}]" if cost.has_interval else ""
        cells = [f"{cost.mean:+.3g}{interval} (n={cost.n})"]
        for name, entry in GRADED.items():
            strength = None
            if cost.mean > 0:
                strength = strength_that_costs(
                    [row for row in own if row.corruption == name], cost.mean
                )
            most = f"> {entry.strengths[-1]:g}" if cost.mean > 0 else "-"
            cells.append(most if strength is None else f"{strength:.2g}")
        lines.append(f"| {own[0].label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def changes_table(rows: list[GradedRow]) -> str:
    """The mean score of each metric at every strength."""
    labels = list(dict.fromkeys(row.label for row in rows))
    scores = {(row.label, row.corruption, row.strength): row for row in rows}
    lines = [
        "| corruption | strength | " + " | ".join(labels) + " |",
        "|---|---:|" + "---:|" * len(labels),
    ]
    for name, strength in dict.fromkeys((row.corruption, row.strength) for row in rows):
        cells = [f"{scores[label, name, strength].score:.4g}" for label in labels]
        lines.append(f"| {name or 'none'} | {strength:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
